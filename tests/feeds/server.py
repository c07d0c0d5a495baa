#!/usr/bin/env python3
"""Stands in for the services of live feeds, on this machine alone.

usage: server.py DIR          writes the port to DIR/port once it listens, each request to DIR/log

It answers as the services' documentation says (docs/plan.md, "Live feeds", has the addresses); no
answer here was recorded from a service. Values are a day's wave around the present. The first part
of a path may name a fault: http://127.0.0.1:PORT/slow/...
"""
import base64
import datetime
import gzip
import http.server
import json
import math
import os
import sys
import threading
import time
import urllib.parse

KEY = "sesame-4711"
FAULTS = ("slow", "cut", "huge", "bomb", "html", "empty", "unauthorised", "forbidden", "often", "broken",
          "tofile", "toplain", "tohost", "around", "moved", "echo", "noforecast", "otherzone", "doctype",
          "acknowledge", "exaa", "ackecho", "tokenecho")


def utc(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def iso(t, form="%Y-%m-%dT%H:%M:%SZ"):
    return datetime.datetime.fromtimestamp(t, datetime.timezone.utc).strftime(form)


def wave(t):
    """Lowest at 03:00 UTC, highest at 15:00."""
    return round(300 - 200 * math.cos((t / 3600 - 3) / 24 * 2 * math.pi))


def span(begin, end, step):
    t = begin // step * step
    while t < end:
        yield int(t)
        t += step


class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        parts = url.path.strip("/").split("/")
        self.fault = parts.pop(0) if parts and parts[0] in FAULTS else ""
        with open(os.path.join(self.server.folder, "log"), "a", encoding="utf-8") as log:
            log.write(f"{self.path} {dict(self.headers)}\n")
        try:
            self.answer(parts, query)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def say(self, status, body, headers=(), kind="application/json"):
        data = body if isinstance(body, bytes) else body.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def redirect(self, to):
        self.say(302, "", [("Location", to)])

    def answer(self, parts, query):
        fault, port = self.fault, self.server.server_address[1]
        if fault == "slow":
            self.server.ended.wait(30)
        elif fault == "cut":
            self.send_response(200)
            self.send_header("Content-Length", "100000")
            self.end_headers()
            self.wfile.write(b'{"data":[')
            self.close_connection = True
        elif fault == "huge":
            self.send_response(200)
            self.end_headers()
            for _ in range(64):
                self.wfile.write(b" " * 1000000)
            self.close_connection = True
        elif fault == "bomb":
            self.say(200, gzip.compress(b" " * 64000000), [("Content-Encoding", "gzip")])
        elif fault == "html":
            self.say(200, "<html>maintenance</html>", kind="text/html")
        elif fault == "empty":
            self.say(200, "")
        elif fault == "unauthorised":
            self.say(401, '{"error":"Invalid auth-token"}')
        elif fault == "echo":
            said = self.headers.get("auth-token") or query.get("securityToken") or ""
            self.say(401, json.dumps({"message": f"the key {said} is not known"}))
        elif fault == "forbidden":
            self.say(403, '{"message":"zone not in plan\\u001b[31m"}')
        elif fault == "often":
            self.say(429, '{"message":"rate limit"}', [("Retry-After", "77")])
        elif fault == "broken":
            self.say(503, "try later", kind="text/plain")
        elif fault == "tofile":
            self.redirect("file:///etc/passwd")
        elif fault == "toplain":
            self.redirect("http://192.0.2.1/")
        elif fault == "tohost":
            self.redirect(f"http://localhost:{port}/{'/'.join(parts)}")
        elif fault == "around":
            self.redirect(f"http://127.0.0.1:{port}/around/{'/'.join(parts)}")
        elif fault == "moved":
            self.redirect(f"/{'/'.join(parts)}?{urllib.parse.urlencode(query)}")
        else:
            self.serve(parts, query)

    def serve(self, parts, query):
        if parts[:1] == ["intensity"] or parts[:2] == ["regional", "intensity"]:
            self.uk(parts)
        elif parts[:2] == ["v3", "carbon-intensity"] and len(parts) == 3:
            self.maps(parts[2], query)
        elif parts == ["login"] or parts[:1] == ["v3"]:
            self.watttime(parts, query)
        elif parts == ["api"]:
            self.entsoe(query)
        else:
            self.say(404, '{"message":"no such path"}')

    def uk(self, parts):
        region = parts[0] == "regional"
        parts = parts[2:] if region else parts[1:]
        now = time.time()
        begin = utc(parts[0])
        end = begin + 48 * 3600 if parts[1] == "fw48h" else utc(parts[1])
        if end - begin > 14 * 86400:
            return self.say(400, '{"error":{"code":"400 Bad Request","message":"The range is 14 days at most"}}')
        data = []
        for t in span(begin, end, 1800):
            point = {"from": iso(t, "%Y-%m-%dT%H:%MZ"), "to": iso(t + 1800, "%Y-%m-%dT%H:%MZ"),
                     "intensity": {"forecast": wave(t) + 5, "index": "moderate"}}
            if not region:
                point["intensity"]["actual"] = wave(t) if t + 1800 <= now else None
            data.append(point)
        if region:
            data = {"regionid": int(parts[-1]), "dnoregion": "SP Distribution", "shortname": "South Scotland",
                    "data": data}
        return self.say(200, json.dumps({"data": data}))

    def maps(self, what, query):
        if self.headers.get("auth-token") != KEY:
            return self.say(401, '{"error":"Invalid auth-token"}')
        zone, now = query.get("zone", ""), time.time()
        zone = "FR" if self.fault == "otherzone" else zone
        if what == "past-range":
            if zone == "PL": # a zone of the free plan
                return self.say(403, '{"message":"not in your plan"}')
            if utc(query["end"]) - utc(query["start"]) > 240 * 3600:
                return self.say(400, '{"message":"10 days at most"}')
            key, times = "data", span(utc(query["start"]), utc(query["end"]), 3600)
        elif what == "history":
            key, times = "history", span(now - 23 * 3600, now, 3600)
        elif what == "forecast" and self.fault == "noforecast":
            return self.say(403, '{"message":"not in your plan"}')
        elif what == "forecast":
            key, times = "forecast", span(now, now + 3600 * int(query.get("horizonHours", "24")), 3600)
        else:
            return self.say(404, '{"message":"no such path"}')
        data = [{"zone": zone, "carbonIntensity": wave(t), "datetime": iso(t, "%Y-%m-%dT%H:%M:%S.000Z"),
                 "updatedAt": iso(t), "emissionFactorType": "lifecycle", "isEstimated": t % 10800 == 0} for t in times]
        if key == "forecast":
            data = [{k: p[k] for k in ("carbonIntensity", "datetime")} for p in data]
        return self.say(200, json.dumps({"zone": zone, key: data, "temporalGranularity": "hourly"}))

    def watttime(self, parts, query):
        if parts == ["login"]:
            good = base64.b64encode(f"ann:{KEY}".encode()).decode()
            if self.headers.get("Authorization") != f"Basic {good}":
                return self.say(401, '{"error":"Invalid username or password"}')
            return self.say(200, '{"token":"abc.def.ghi"}')
        if self.headers.get("Authorization") != "Bearer abc.def.ghi":
            return self.say(401, '{"detail":"Invalid scope"}')
        if self.fault == "tokenecho":
            return self.say(403, '{"message":"what abc.def.ghi asks for is not in your plan"}')
        now = time.time()
        if parts[1] == "historical":
            begin, end = utc(query["start"]), utc(query["end"])
            if end - begin > 32 * 86400:
                return self.say(400, '{"message":"32 days at most"}')
        else:
            begin, end = now, now + 3600 * int(query["horizon_hours"])
        if query["signal_type"] != "co2_moer" or query["region"] != "CAISO_NORTH":
            return self.say(403, '{"message":"Your account has no access to this region"}')
        data = [{"point_time": iso(t), "value": wave(t) * 2} for t in span(begin, end, 300)]
        meta = {"data_point_period_seconds": 300, "region": "CAISO_NORTH", "signal_type": "co2_moer",
                "units": "lbs_co2_per_mwh", "model": {"date": "2023-03-01"}, "warnings": []}
        return self.say(200, json.dumps({"data": data, "meta": meta}))

    def entsoe(self, query):
        name = "urn:iec62325.351:tc57wg16:451-3:publicationdocument:7:3"
        if query.get("securityToken") != KEY:
            return self.say(401, acknowledgement("Unauthorized. Missing or invalid security token"), kind="text/xml")
        if self.fault == "ackecho": # as the answer of success that it is
            return self.say(200, acknowledgement(f"no data for securityToken=&#115;{KEY[1:]}"), kind="text/xml")
        if self.fault == "acknowledge" or query["in_Domain"] == "10YNONE--------A":
            return self.say(200, acknowledgement("No matching data found for Data item ENERGY_PRICES [12.1.D]"),
                            kind="text/xml")
        begin, end = (datetime.datetime.strptime(query[k], "%Y%m%d%H%M").replace(
            tzinfo=datetime.timezone.utc).timestamp() for k in ("periodStart", "periodEnd"))
        end = min(end, time.time() // 86400 * 86400 + 2 * 86400)
        text = '<?xml version="1.0" encoding="utf-8"?>\n'
        if self.fault == "doctype":
            text += '<!DOCTYPE a [<!ENTITY b "bbbb">]>\n'
        text += f'<Publication_MarketDocument xmlns="{name}"><mRID>1</mRID><type>A44</type>\n'
        for day in span(begin, end, 86400):
            for auction in (("2",) if self.fault == "exaa" else ("2", "1")):
                text += series(day, auction)
        self.say(200, text + "</Publication_MarketDocument>", kind="text/xml")


def acknowledgement(text):
    name = "urn:iec62325.351:tc57wg16:451-1:acknowledgementdocument:7:0"
    return (f'<?xml version="1.0" encoding="UTF-8"?><Acknowledgement_MarketDocument xmlns="{name}"><mRID>1</mRID>'
            f"<Reason><code>999</code><text>{text}</text></Reason></Acknowledgement_MarketDocument>")


def series(day, auction):
    """A day by quarters of an hour, of which an hour's are alike: A03 leaves out the other three."""
    points = "".join(f"<Point><position>{4 * h + 1}</position><price.amount>"
                     f"{wave(day + 3600 * h) - 150 + (1000 if auction == '2' else 0)}</price.amount></Point>"
                     for h in range(24))
    start, end = iso(day, "%Y-%m-%dT%H:%MZ"), iso(day + 86400, "%Y-%m-%dT%H:%MZ")
    return ("<TimeSeries><mRID>1</mRID><auction.type>A01</auction.type><businessType>A62</businessType>"
            "<contract_MarketAgreement.type>A01</contract_MarketAgreement.type>"
            "<currency_Unit.name>EUR</currency_Unit.name><price_Measure_Unit.name>MWH</price_Measure_Unit.name>"
            f"<classificationSequence_AttributeInstanceComponent.position>{auction}"
            "</classificationSequence_AttributeInstanceComponent.position><curveType>A03</curveType>"
            f"<Period><timeInterval><start>{start}</start><end>{end}</end></timeInterval>"
            f"<resolution>PT15M</resolution>{points}</Period></TimeSeries>\n")


def main():
    folder = sys.argv[1]
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    server.daemon_threads = True
    server.folder, server.ended = folder, threading.Event()
    with open(os.path.join(folder, "port.new"), "w", encoding="utf-8") as f:
        f.write(f"{server.server_address[1]}\n")
    os.rename(os.path.join(folder, "port.new"), os.path.join(folder, "port"))
    # It ends with the test: when nobody holds the other side of its input.
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()
    server.ended.set()


if __name__ == "__main__":
    main()
