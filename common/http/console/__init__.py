"""The approvals console: people look at what agents ask for, and decide.

``desk``      what every page needs
``web``       the frame around every page: forms, refusals, headers
``login``     signing in and out at the authorization server that ``issuer`` knows
``sessions``  staying signed in
``requests``  inbox, one request, history
``deciding``  the one door to a decision
``auditing``  the log
``live``      waiting for news
"""

from starlette.routing import BaseRoute

from common.auth import Authenticator
from common.http.console import auditing, deciding, live, login, requests, web
from common.http.console.desk import Desk
from common.shop import Shop


def routes(shop: Shop, authenticator: Authenticator) -> list[BaseRoute]:
    """Every page under ``/console``."""
    desk = Desk(shop, authenticator)
    return [
        web.page(desk, "", requests.inbox),
        web.page(desk, "/requests/{id}", requests.one),
        web.action(desk, "/requests/{id}/decide", deciding.decide),
        web.page(desk, "/history", requests.history),
        web.page(desk, "/audit", auditing.log),
        web.page(desk, "/audit/{id}", auditing.one),
        web.action(desk, "/verify", auditing.check),
        web.open_page(desk, "/login", login.start),
        web.open_page(desk, "/callback", login.callback),
        web.action(desk, "/logout", login.end),
        web.open_page(desk, "/signed-out", login.signed_out),
        web.open_page(desk, "/changes", live.changes),
        web.open_page(desk, "/static/{name}", live.static),
    ]
