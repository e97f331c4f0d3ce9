"""The paths of the admin interface and what answers them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from meshlib._explain.explanation import Json
from meshlib.admin.faults import RouteId, fault_of_json
from meshlib.admin.member import Member
from meshlib.admin.messages import Answer, Ask, BadAskError, json_answer, text_answer
from meshlib.admin.page_files import page_file
from meshlib.admin.views.certificates import certificates_view
from meshlib.admin.views.clusters import clusters_view
from meshlib.admin.views.config_dump import LEVELS, RESOURCES, config_dump_view
from meshlib.admin.views.findings import findings_view, source_view
from meshlib.admin.views.route_table import routes_view
from meshlib.admin.views.service_graph import live_view
from meshlib.admin.views.stats import stats_text, stats_view

__all__ = ["Endpoints"]

_MOST: Final = 10_000
_SHOWN: Final = 500
_LONGEST: Final = 8_192


class Endpoints:
    """Answers requests that the guard has let pass."""

    def __init__(self, members: Sequence[Member], now: Callable[[], float], *, allow_control: bool) -> None:
        self._members = members
        self._now = now
        self._allows_control = allow_control
        self._get: Mapping[str, Callable[[Ask], Answer]] = {
            "/config_dump": self._config_dump,
            "/clusters": self._clusters,
            "/routes": self._routes,
            "/stats": self._stats,
            "/stats/prometheus": self._prometheus,
            "/certs": self._certs,
            "/ready": self._ready,
            "/live": self._live,
            "/findings": self._findings,
            "/source": self._source,
            "/explain": self._explain,
        }
        self._post: Mapping[str, Callable[[Ask], Answer]] = {"/explain": self._explain, "/faults": self._faults}

    def answer(self, ask: Ask) -> Answer:
        """The answer. Raises BadAskError."""
        table = self._post if ask.method == "POST" else self._get if ask.method in ("GET", "HEAD") else {}
        handler = table.get(ask.path)
        if handler is not None:
            return handler(ask)
        if ask.path in self._get or ask.path in self._post:
            raise BadAskError(f"{ask.path} does not take {ask.method[:20]}", 405)
        if ask.method not in ("GET", "HEAD"):
            raise BadAskError("the admin interface is read-only", 405)
        if ask.path == "":  # mounted, and called without a slash: the page's links are relative
            return Answer(status=307, headers=(("location", f"{ask.mount}/"),))
        found = page_file(ask.path)
        if found is None:
            raise BadAskError(f"there is nothing at {ask.path[:100]}; the page at / lists what there is", 404)
        return found

    # -- as Envoy has it -----------------------------------------------------------------------------

    def _config_dump(self, ask: Ask) -> Answer:
        resource = ask.query.get("resource", "")
        if resource not in ("", *RESOURCES):
            raise BadAskError(f"resource is one of {', '.join(RESOURCES)}")
        wanted = ask.query.get("name_regex", _filter(ask))
        return json_answer(config_dump_view(self._chosen(ask), resource=resource, wanted=wanted), levels=LEVELS)

    def _clusters(self, ask: Ask) -> Answer:
        members = self._looked_at(ask)
        return json_answer(clusters_view(members, wanted=_filter(ask), most=ask.number("limit", _MOST, _MOST)))

    def _stats(self, ask: Ask) -> Answer:
        members = self._looked_at(ask)
        if ask.query.get("format") == "prometheus":
            return self._prometheus(ask)
        if ask.query.get("format") == "text":
            return text_answer(stats_text(members, self._now(), wanted=_filter(ask)))
        return json_answer(stats_view(members, self._now(), wanted=_filter(ask)))

    def _prometheus(self, ask: Ask) -> Answer:
        metrics = self._one(ask).metrics
        if metrics is None:
            raise BadAskError("the metrics are off; mesh.metrics() counts from then on", 404)
        try:
            text = metrics.text()
        except ImportError:
            raise BadAskError("the text format needs the package 'prometheus-client', which is missing", 501) from None
        return text_answer(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    def _certs(self, ask: Ask) -> Answer:
        return json_answer(certificates_view(self._chosen(ask), self._now()))

    def _ready(self, _: Ask) -> Answer:
        return text_answer("LIVE\n")

    # -- ours ----------------------------------------------------------------------------------------

    def _live(self, ask: Ask) -> Answer:
        return json_answer(live_view(self._looked_at(ask), self._now(), allows_control=self._allows_control))

    def _routes(self, ask: Ask) -> Answer:
        members = self._looked_at(ask)
        return json_answer(routes_view(members, wanted=_filter(ask), most=ask.number("limit", _SHOWN, _MOST)))

    def _findings(self, ask: Ask) -> Answer:
        return json_answer(findings_view(self._chosen(ask)))

    def _source(self, ask: Ask) -> Answer:
        line = ask.number("line", 1, 10_000_000)
        return json_answer(source_view(self._chosen(ask), ask.query.get("file", ""), line))

    def _explain(self, ask: Ask) -> Answer:
        asked: Mapping[str, Json] = ask.json() if ask.method == "POST" else {**ask.query}
        method, url, headers = asked.get("method") or "GET", asked.get("url"), asked.get("headers") or {}
        if isinstance(headers, str):  # of a query: lines of "name: value"
            headers = {
                name.strip(): value.strip()
                for name, colon, value in _split(headers.splitlines())
                if colon and name.strip()
            }
        if not isinstance(method, str) or not isinstance(url, str) or not isinstance(headers, dict):
            raise BadAskError('explain takes "method", "url" and "headers"')
        if len(url) > _LONGEST or len(headers) > 100 or len(method) > 40:
            raise BadAskError("the request to explain is too long")
        member = self._named(asked.get("member"))
        texts = {str(name).lower(): str(value)[:_LONGEST] for name, value in headers.items()}
        try:
            found = member.mesh.explain(method, url, headers=texts)
        except ValueError as error:
            raise BadAskError(str(error)) from None
        return json_answer({"member": member.name, **found.to_json(), "text": str(found)})

    def _faults(self, ask: Ask) -> Answer:
        """Set a fault on a route, or take back all that were set."""
        if not self._allows_control:
            raise BadAskError("the admin interface is read-only: it was made without allow_control=True", 403)
        asked = ask.json()
        member = self._named(asked.get("member"))
        if asked.get("reset") is True:
            member.faults.reset()
        else:
            route = asked.get("route")
            if not isinstance(route, str) or "fault" not in asked:
                raise BadAskError('give "route" (an id of /routes) and "fault", or "reset": true')
            member.faults.set(RouteId.parse(route), fault_of_json(asked["fault"]))
        return json_answer({"member": member.name, "by_hand": [str(route) for route in member.faults.set_by_hand]})

    # -- which members ---------------------------------------------------------------------------------

    def _chosen(self, ask: Ask) -> Sequence[Member]:
        """The member that ``?member=`` names; all without it."""
        return [self._named(ask.query["member"])] if "member" in ask.query else self._members

    def _looked_at(self, ask: Ask) -> Sequence[Member]:
        """The same, and their calls are counted from now on."""
        members = self._chosen(ask)
        for member in members:
            member.tally.look()
        return members

    def _one(self, ask: Ask) -> Member:
        return self._named(ask.query.get("member"))

    def _named(self, name: Json) -> Member:
        """The member of a name; the first one without."""
        if name is None:
            return self._members[0]
        for member in self._members:
            if member.name == name:
                return member
        known = ", ".join(member.name for member in self._members)
        raise BadAskError(f"there is no member {str(name)[:80]!r}; there are {known}", 404)


def _filter(ask: Ask) -> str:
    return ask.query.get("filter", "")


def _split(lines: Sequence[str]) -> list[tuple[str, str, str]]:
    return [line.partition(":") for line in lines]
