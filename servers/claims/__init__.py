"""Claims: customers made whole, and money recovered from carriers, insurers and suppliers."""
