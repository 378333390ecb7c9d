"""The tau2 retail judge: a whole shop imported, real service tasks replayed, the whole compared.

    python -m tests.judges.tau2 --tasks FILE [--probes FILE] [--db FILE] [--json] [--limit N]

A task starts from the snapshot of the imported shop (a copy of its database file). Its writes go
through real MCP clients to the orders and returns servers; the shop is exported and every record
compared with start + ``after``, in cents. Probes share a copy in rounds: in one round each
customer has at most one probe that changes anything, refusals come before changes, and the whole
shop is compared once after each half. So every probe meets its customer's records untouched.
"""
