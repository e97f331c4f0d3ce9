"""TLS sessions that clients take up again, and why servers of the mesh hardly let them.

A session stands for the certificate that was verified when it began. OpenSSL keeps
sessions, and the key of tickets, with the first context of a server, whichever context a
handshake is given later: a client whose root is trusted no more would be taken for who it
was. In TLS 1.3 each visit brings a new ticket, so for as long as it likes.

So nobody gets tickets. What TLS 1.2 has left, sessions that the server keeps itself (for
two hours), counts only until what clients are verified with is another, or they must show a
certificate from then on: then they are refused once each, which a new certificate of the
server is no reason for.
"""

from __future__ import annotations

import ssl

__all__ = ["give_no_tickets", "is_stale"]


def give_no_tickets(context: ssl.SSLContext) -> None:
    """Have each TLS 1.3 connection begin with a whole handshake."""
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0


def is_stale(connection: ssl.SSLObject | ssl.SSLSocket, renewed: float) -> bool:
    """Whether a ClientHello takes up a session from before what is wanted was ``renewed``, in seconds since the epoch.

    Refused with an alert, OpenSSL forgets the session: the client's next attempt is a
    whole handshake.
    """
    if not connection.session_reused:
        return False
    session = connection.session
    return session is None or session.time <= renewed
