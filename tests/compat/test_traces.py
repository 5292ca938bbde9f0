"""Traces through MLflow's real client, and OTLP as any OpenTelemetry exporter sends it."""

import base64
import gzip
import json
import time
import uuid

import mlflow
import pytest
import requests
from google.protobuf.json_format import MessageToDict
from mlflow.entities import AssessmentSource, Expectation, Feedback, SpanType, TraceState
from mlflow.exceptions import MlflowException
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from support.mlflow_calls import error_code

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module", autouse=True)
def at_once():
    """Traces are sent before the call that made them returns."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_ENABLE_ASYNC_TRACE_LOGGING", "false")
        yield


@pytest.fixture()
def experiment(client):
    return mlflow.set_experiment(f"traces {uuid.uuid4().hex}").experiment_id


def traced(name="work", fail=False, **attributes) -> str:
    """One trace of two spans; its id."""
    try:
        with mlflow.start_span(name) as root:
            root.set_inputs({"question": f"what is {name}?"})
            with mlflow.start_span("inner", span_type=SpanType.LLM, attributes=attributes) as inner:
                inner.set_outputs([1, 2.5, "three", None])
                if fail:
                    raise RuntimeError("on purpose")
            root.set_outputs({"answer": f"{name} it is"})
    except RuntimeError:
        pass
    return root.trace_id


class TestRecording:
    def test_a_decorated_function(self, client, experiment):
        @mlflow.trace(span_type=SpanType.CHAIN, attributes={"team": "ops"})
        def outer(a, b):
            return inner(a) + b

        @mlflow.trace
        def inner(a):
            return a * 2

        assert outer(3, b=4) == 10
        trace = mlflow.get_trace(mlflow.get_last_active_trace_id())
        assert trace.info.experiment_id == experiment
        assert (trace.info.state, trace.info.tags["mlflow.traceName"]) == (TraceState.OK, "outer")
        assert trace.info.tags["mlflow.trace.spansLocation"] == "TRACKING_STORE"
        assert trace.info.execution_duration is not None
        assert json.loads(trace.info.request_preview) == {"a": 3, "b": 4}
        root, child = trace.data.spans
        assert (root.name, root.span_type, root.parent_id) == ("outer", "CHAIN", None)
        assert (root.inputs, root.outputs, root.attributes["team"]) == ({"a": 3, "b": 4}, 10, "ops")
        assert (child.name, child.parent_id, child.inputs, child.outputs) == ("inner", root.span_id, {"a": 3}, 6)
        assert root.start_time_ns <= child.start_time_ns <= child.end_time_ns <= root.end_time_ns

    def test_odd_values_come_back(self, client, experiment):
        values = {"text": "zwölf\n\"\\ 🚢", "big": 2**53 + 1, "float": 0.1, "list": [[1], {"a": None}], "true": True}
        with mlflow.start_span("odd ünïcode") as span:
            span.set_inputs(values)
            span.set_attributes(values)
        [read] = mlflow.get_trace(span.trace_id).data.spans
        assert read.name == "odd ünïcode"
        assert read.inputs == values
        assert {k: read.attributes[k] for k in values} == values

    def test_an_exception_is_an_event_and_a_state(self, client, experiment):
        trace = mlflow.get_trace(traced(fail=True))
        assert trace.info.state == TraceState.ERROR
        inner = trace.data.spans[1]
        assert inner.status.status_code == "ERROR"
        assert [e.name for e in inner.events] == ["exception"]
        assert inner.events[0].attributes["exception.message"] == "on purpose"

    def test_metadata_tags_and_client_request_id(self, client, experiment):
        with mlflow.start_run() as run, mlflow.start_span("work") as span:
            mlflow.update_current_trace(
                tags={"colour": "red"}, metadata={"mlflow.trace.user": "ann"}, client_request_id="req-1"
            )
        info = mlflow.get_trace(span.trace_id).info
        assert info.tags["colour"] == "red"
        assert info.trace_metadata["mlflow.trace.user"] == "ann"
        assert info.trace_metadata["mlflow.sourceRun"] == run.info.run_id
        assert info.client_request_id == "req-1"

    def test_many_spans(self, client, experiment):
        with mlflow.start_span("root") as root:
            for i in range(200):
                with mlflow.start_span(f"step {i}"):
                    pass
        names = [s.name for s in mlflow.get_trace(root.trace_id).data.spans]
        assert names == ["root", *(f"step {i}" for i in range(200))]

    def test_asynchronous_export(self, client, experiment):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MLFLOW_ENABLE_ASYNC_TRACE_LOGGING", "true")
            mlflow.tracing.reset()
            ids = [traced(f"work {i}") for i in range(10)]
            mlflow.flush_trace_async_logging()
        mlflow.tracing.reset()
        assert all(len(mlflow.get_trace(i).data.spans) == 2 for i in ids)

    def test_a_trace_that_is_not_there(self, client):
        assert error_code(client.get_trace, "tr-" + "0" * 32) == "RESOURCE_DOES_NOT_EXIST"
        assert mlflow.get_trace("tr-" + "0" * 32) is None


class TestSearch:
    @pytest.fixture()
    def traces(self, client, experiment):
        """Four traces, oldest first; the third failed, the last came from a run."""
        ids = [traced("alpha", model="small"), traced("beta", model="large"), traced("gamma", fail=True)]
        with mlflow.start_run() as run:
            ids.append(traced("delta"))
        self.run_id = run.info.run_id
        client.set_trace_tag(ids[0], "colour", "red")
        client.set_trace_tag(ids[1], "colour", "blue")
        mlflow.log_feedback(trace_id=ids[0], name="quality", value=0.9)
        mlflow.log_feedback(trace_id=ids[1], name="quality", value=0.2)
        mlflow.log_feedback(trace_id=ids[1], name="tone", value="rude")
        mlflow.log_expectation(trace_id=ids[2], name="answer", value="42")
        return ids

    @pytest.mark.parametrize(
        ("filter_string", "numbers"),
        [
            (None, "3210"),
            ("trace.status = 'ERROR'", "2"),
            ("attributes.status != 'ERROR'", "310"),
            ("status IN ('OK')", "310"),
            ("trace.name = 'alpha'", "0"),
            ("name LIKE '%a'", "3210"),
            ("tags.colour = 'red'", "0"),
            ("tag.colour LIKE '%e%'", "10"),
            ("tags.colour IS NULL", "32"),
            ("tags.colour IS NOT NULL", "10"),
            ("timestamp_ms > 0", "3210"),
            ("trace.timestamp < 1000", ""),
            ("execution_time_ms >= 0", "3210"),
            ("end_time_ms > 1000", "3210"),
            ("metadata.`mlflow.sourceRun` = '{run}'", "3"),
            ("request_metadata.`mlflow.trace.sizeBytes` IS NULL", None),
            ("run_id = '{run}'", "3"),
            ("request_id = '{first}'", "0"),
            ("span.name = 'inner' AND span.status = 'ERROR'", "2"),
            ("span.name = 'alpha' AND span.type = 'LLM'", ""),
            ("span.type = 'LLM'", "3210"),
            ("span.attributes.model = 'small'", "0"),
            ("span.attributes.model LIKE 'l%'", "1"),
            ("trace.text LIKE '%what is beta%'", "1"),
            ("feedback.quality = 0.9", "0"),
            ("feedback.quality > 0.5", "0"),
            ("feedback.tone = 'rude'", "1"),
            ("feedback.quality IS NULL", "32"),
            ("expectation.answer = '42'", "2"),
        ],
    )
    def test_filters(self, client, experiment, traces, filter_string, numbers):
        if filter_string is not None:
            filter_string = filter_string.format(run=self.run_id, first=traces[0])
        found = client.search_traces(locations=[experiment], filter_string=filter_string, include_spans=False)
        if numbers is not None:
            assert [traces.index(t.info.trace_id) for t in found] == [int(n) for n in numbers]

    @pytest.mark.parametrize(
        ("order_by", "numbers"),
        [
            (["timestamp_ms ASC"], "0123"),
            (["trace.name DESC"], "2310"),
            (["tags.colour ASC"], "1032"),
            (["status ASC", "timestamp ASC"], "2013"),
        ],
    )
    def test_orders(self, client, experiment, traces, order_by, numbers):
        found = client.search_traces(locations=[experiment], order_by=order_by, include_spans=False)
        assert [traces.index(t.info.trace_id) for t in found] == [int(n) for n in numbers]

    def test_pages_with_spans(self, client, experiment, traces):
        first = client.search_traces(locations=[experiment], max_results=3)
        second = client.search_traces(locations=[experiment], max_results=3, page_token=first.token)
        assert [t.info.trace_id for t in [*first, *second]] == traces[::-1]
        assert all(len(t.data.spans) == 2 for t in [*first, *second])
        assert not second.token

    def test_fluent(self, client, experiment, traces):
        assert len(mlflow.search_traces(locations=[experiment], return_type="list")) == 4
        table = mlflow.search_traces(locations=[experiment], filter_string="trace.status = 'OK'")
        assert sorted(table["trace_id"]) == sorted(traces[i] for i in (0, 1, 3))

    @pytest.mark.parametrize(
        "bad", ["colour = 'red'", "span.colour = 'red'", "status > 5", "timestamp = 'now'", "name =", "issue.name = 'x'"]
    )
    def test_bad_filters(self, client, experiment, bad):
        code = error_code(client.search_traces, locations=[experiment], filter_string=bad)
        assert code == "INVALID_PARAMETER_VALUE"


class TestChanging:
    def test_tags(self, client, experiment):
        trace_id = traced()
        client.set_trace_tag(trace_id, "a b/c", "x" * 9000)
        assert client.get_trace(trace_id).info.tags["a b/c"] == "x" * 8000
        client.delete_trace_tag(trace_id, "a b/c")
        assert "a b/c" not in client.get_trace(trace_id).info.tags
        assert error_code(client.delete_trace_tag, trace_id, "a b/c") == "RESOURCE_DOES_NOT_EXIST"

    def test_delete(self, client, experiment):
        ids = [traced(f"w{i}") for i in range(4)]
        assert client.delete_traces(experiment, trace_ids=[ids[0], "tr-unknown"]) == 1
        now = int(time.time() * 1000) + 1000
        assert client.delete_traces(experiment, max_timestamp_millis=now, max_traces=1) == 1
        left = [t.info.trace_id for t in client.search_traces(locations=[experiment], include_spans=False)]
        assert left == [ids[3], ids[2]]
        other = client.create_experiment(uuid.uuid4().hex)
        assert client.delete_traces(other, trace_ids=[ids[2]]) == 0

    def test_link_to_a_run(self, client, experiment):
        trace_id = traced()
        run = client.create_run(experiment).info.run_id
        client.link_traces_to_run([trace_id], run)
        client.link_traces_to_run([trace_id], run)
        found = client.search_traces(locations=[experiment], filter_string=f"run_id = '{run}'", include_spans=False)
        assert [t.info.trace_id for t in found] == [trace_id]
        assert error_code(client.link_traces_to_run, [trace_id], "0" * 32) == "RESOURCE_DOES_NOT_EXIST"

    def test_link_prompts(self, client, experiment):
        name = f"p{uuid.uuid4().hex[:10]}"
        prompt = mlflow.genai.register_prompt(name, "Hello")
        trace_id = traced()
        client.link_prompt_versions_to_trace([prompt], trace_id)
        linked = json.loads(client.get_trace(trace_id).info.tags["mlflow.linkedPrompts"])
        assert linked == [{"name": name, "version": "1"}]
        found = client.search_traces(
            locations=[experiment], filter_string=f"prompt = '{name}/1'", include_spans=False
        )
        assert [t.info.trace_id for t in found] == [trace_id]


class TestAssessments:
    def test_feedback_and_expectation(self, client, experiment):
        trace_id = traced()
        human = AssessmentSource(source_type="HUMAN", source_id="ann")
        made = mlflow.log_feedback(
            trace_id=trace_id, name="good", value=True, source=human, rationale="clear", metadata={"page": "3"}
        )
        mlflow.log_expectation(trace_id=trace_id, name="answer", value={"a": [1, 2]}, source=human)
        assert made.assessment_id.startswith("a-")
        read = mlflow.get_assessment(trace_id, made.assessment_id)
        assert (read.name, read.value, read.rationale, read.metadata) == ("good", True, "clear", {"page": "3"})
        assert (read.source.source_type, read.source.source_id) == ("HUMAN", "ann")
        assert read.create_time_ms == read.last_update_time_ms
        listed = mlflow.get_trace(trace_id).info.assessments
        assert {a.name: a.value for a in listed} == {"good": True, "answer": {"a": [1, 2]}}

    def test_update_override_delete(self, client, experiment):
        trace_id = traced()
        made = mlflow.log_feedback(trace_id=trace_id, name="score", value=1)
        updated = mlflow.update_assessment(
            trace_id, made.assessment_id, Feedback(name="score", value=0.5, rationale="on second thought")
        )
        assert (updated.value, updated.rationale) == (0.5, "on second thought")
        with pytest.raises(MlflowException):
            mlflow.update_assessment(trace_id, made.assessment_id, Expectation(name="score", value=1))
        better = mlflow.override_feedback(trace_id=trace_id, assessment_id=made.assessment_id, value=0.7)
        valid = lambda: {a.assessment_id: a.valid for a in mlflow.get_trace(trace_id).info.assessments}
        assert valid() == {made.assessment_id: False, better.assessment_id: True}
        mlflow.delete_assessment(trace_id, better.assessment_id)
        assert valid() == {made.assessment_id: True}
        mlflow.delete_assessment(trace_id, better.assessment_id)  # again: nothing
        with pytest.raises(MlflowException):
            mlflow.get_assessment(trace_id, better.assessment_id)


class TestOtlp:
    @pytest.fixture()
    def send(self, server):
        def post(body: bytes, experiment, **headers):
            return requests.post(
                f"{server.url}/v1/traces",
                data=body,
                headers={
                    "content-type": "application/x-protobuf",
                    "x-mlflow-experiment-id": str(experiment),
                    **{k.replace("_", "-"): v for k, v in headers.items()},
                },
            )

        return post

    def request(self, spans=1, trace_id=None, parent=None, **more) -> tuple[str, ExportTraceServiceRequest]:
        trace_id = trace_id or uuid.uuid4().bytes
        request = ExportTraceServiceRequest()
        resource = request.resource_spans.add()
        resource.resource.attributes.add(key="service.name").value.string_value = "shop"
        scope = resource.scope_spans.add()
        for i in range(spans):
            span = scope.spans.add(
                trace_id=trace_id, span_id=(i + 1).to_bytes(8, "big"), name=f"GET /{i}", kind=2,
                start_time_unix_nano=1_700_000_000_000_000_000 + i, end_time_unix_nano=1_700_000_000_250_000_000,
            )
            if i or parent:
                span.parent_span_id = parent or (1).to_bytes(8, "big")
            span.attributes.add(key="http.status").value.int_value = 200 + i
            span.attributes.add(key="tags").value.array_value.values.add().string_value = "x"
            inner = span.attributes.add(key="map").value.kvlist_value.values.add(key="k")
            inner.value.double_value = 0.5
            span.events.add(name="sent", time_unix_nano=5).attributes.add(key="b").value.bool_value = True
            span.links.add(trace_id=trace_id, span_id=(9).to_bytes(8, "big"))
            span.status.code = 1
        return "tr-" + trace_id.hex(), request

    def test_spans_of_any_exporter(self, client, experiment, send):
        trace_id, request = self.request(spans=3)
        answer = send(request.SerializeToString(), experiment)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/x-protobuf")
        trace = client.get_trace(trace_id)
        assert (trace.info.state, trace.info.request_time) == (TraceState.OK, 1_700_000_000_000)
        assert trace.info.execution_duration == 250
        assert trace.info.tags["mlflow.traceName"] == "GET /0"
        root, second, _ = trace.data.spans
        assert root.attributes["http.status"] == 200
        assert root.attributes["tags"] == ["x"]
        assert root.attributes["map"] == {"k": 0.5}
        assert second.parent_id == root.span_id
        assert (root.events[0].name, root.events[0].attributes) == ("sent", {"b": True})
        assert root.links[0].span_id == (9).to_bytes(8, "big").hex()

    def test_gzip_and_run_header(self, client, experiment, send):
        run = client.create_run(experiment).info.run_id
        trace_id, request = self.request()
        body = gzip.compress(request.SerializeToString())
        assert send(body, experiment, content_encoding="gzip", x_mlflow_run_id=run).status_code == 200
        assert client.get_trace(trace_id).info.trace_metadata["mlflow.sourceRun"] == run

    def test_json_holds_the_same_spans(self, client, experiment, send):
        def as_otlp(json):  # protobuf's JSON, but for ids, which OTLP wants in hexadecimal
            if isinstance(json, list):
                return [as_otlp(item) for item in json]
            if not isinstance(json, dict):
                return json
            ids = ("traceId", "spanId", "parentSpanId")
            return {k: base64.b64decode(v).hex() if k in ids else as_otlp(v) for k, v in json.items()}

        known = []
        for encode, kind in (
            (lambda r: r.SerializeToString(), "application/x-protobuf"),
            (lambda r: json.dumps(as_otlp(MessageToDict(r, use_integers_for_enums=True))).encode(), "application/json"),
        ):
            trace_id, request = self.request(spans=2)
            answer = send(encode(request), experiment, content_type=kind)
            assert (answer.status_code, answer.headers["content-type"].split(";")[0]) == (200, kind), answer.text
            known.append([
                (s.name, s.start_time_ns, s.end_time_ns, s.status.status_code, s.events[0].attributes,
                 {k: v for k, v in s.attributes.items() if k != "mlflow.traceRequestId"})
                for s in client.get_trace(trace_id).data.spans
            ])
        assert known[0] == known[1]

    def test_spans_come_piece_by_piece_and_again(self, client, experiment, send):
        raw = uuid.uuid4().bytes
        child_id, child = self.request(trace_id=raw, parent=(77).to_bytes(8, "big"))
        assert send(child.SerializeToString(), experiment).status_code == 200
        assert client.get_trace(child_id).info.state == TraceState.IN_PROGRESS
        _, root = self.request(trace_id=raw)
        root.resource_spans[0].scope_spans[0].spans[0].span_id = (77).to_bytes(8, "big")
        for _ in range(2):
            assert send(root.SerializeToString(), experiment).status_code == 200
        trace = client.get_trace(child_id)
        assert (trace.info.state, len(trace.data.spans)) == (TraceState.OK, 2)

    def test_wrong_bodies(self, client, experiment, send):
        _, request = self.request()
        good = request.SerializeToString()
        for body in (b"", b"{}", b"\xff" * 100, good[:-3], b"\x0a\xff\xff\xff\xff\x0f", good[:20]):
            assert send(body, experiment).status_code == 400, body
        request.resource_spans[0].scope_spans[0].spans[0].trace_id = b"short"
        assert send(request.SerializeToString(), experiment).status_code == 400
        assert send(good, "nobody").status_code == 404
        assert send(good, "999999").status_code == 404
        assert send(good, experiment, content_type="application/json").status_code == 400
        assert send(good, experiment, content_type="text/plain").status_code == 400
        deep = request.resource_spans[0].scope_spans[0].spans[0]
        deep.trace_id = uuid.uuid4().bytes
        value = deep.attributes.add(key="deep").value
        for _ in range(60):
            value = value.array_value.values.add()
        assert send(request.SerializeToString(), experiment).status_code == 400

    def test_a_trace_stays_in_its_experiment(self, client, experiment, send):
        trace_id, request = self.request()
        assert send(request.SerializeToString(), experiment).status_code == 200
        other = client.create_experiment(uuid.uuid4().hex)
        assert send(request.SerializeToString(), other).status_code == 400
        assert client.get_trace(trace_id).info.experiment_id == experiment

    def test_deleted_experiments_take_nothing(self, client, send):
        experiment = client.create_experiment(uuid.uuid4().hex)
        client.delete_experiment(experiment)
        _, request = self.request()
        assert send(request.SerializeToString(), experiment).status_code == 400
