"""slipway's gRPC port through Triton's real clients (blocking, streaming, asyncio), and through raw calls that they would not make."""

import asyncio
import concurrent.futures
import queue
import struct
import time

import grpc
import numpy
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from tritonclient.grpc import service_pb2
from tritonclient.utils import InferenceServerException

from compat.test_triton_client import PIPELINE
from support.flights import slipway, small_pipeline
from support.slipway_server import SlipwayServer, free_port

MODEL = "triton"
INPUTS = (("x", "FP64"), ("kind", "BYTES"), ("day", "BYTES"))


@pytest.fixture(scope="module")
def deployed(tmp_path_factory):
    """(server, gRPC address), with a small classifier behind the name `triton`."""
    home = tmp_path_factory.mktemp("grpc") / "home"
    port = free_port()
    slipway(home, "run", small_pipeline(tmp_path_factory.mktemp("triton"), PIPELINE))
    with SlipwayServer(home, args=("--grpc-port", str(port))) as server:
        yield server, f"127.0.0.1:{port}"


@pytest.fixture()
def client(deployed):
    with triton.InferenceServerClient(deployed[1]) as client:
        yield client


@pytest.fixture()
def call(deployed):
    """Any message to any method of the service."""
    with grpc.insecure_channel(deployed[1]) as channel:

        def send(method, message, answer, **options):
            stub = channel.unary_unary(
                f"/inference.GRPCInferenceService/{method}",
                request_serializer=lambda m: m if isinstance(m, bytes) else m.SerializeToString(),
                response_deserializer=answer.FromString,
            )
            return stub(message, timeout=options.pop("timeout", 10), **options)

        yield send


def tensors(x, kind, day, client=triton):
    inputs = []
    for (name, datatype), values in zip(INPUTS, (x, kind, day)):
        array = numpy.array(values, dtype=numpy.float64 if datatype == "FP64" else object)
        tensor = client.InferInput(name, list(array.shape), datatype)
        tensor.set_data_from_numpy(array)
        inputs.append(tensor)
    return inputs


def message(rows=1, **more):
    """Typed contents."""
    request = service_pb2.ModelInferRequest(model_name=MODEL, **more)
    request.inputs.add(name="x", datatype="FP64", shape=[rows]).contents.fp64_contents.extend(range(rows))
    request.inputs.add(name="kind", datatype="BYTES", shape=[rows]).contents.bytes_contents.extend([b"a"] * rows)
    request.inputs.add(name="day", datatype="BYTES", shape=[rows, 1]).contents.bytes_contents.extend([b"2013-01-05"] * rows)
    return request


def over_http(server, x, kind, day):
    import requests

    data = [{"name": n, "datatype": t, "shape": [len(x)], "data": v} for (n, t), v in zip(INPUTS, (x, kind, day))]
    answer = requests.post(f"{server.url}/v2/models/{MODEL}/infer", json={"inputs": data}, timeout=10).json()
    return next(o["data"] for o in answer["outputs"] if o["name"] == "probability")


def test_it_says_what_it_is(client):
    assert client.is_server_live() and client.is_server_ready() and client.is_model_ready(MODEL, "1")
    assert client.get_server_metadata().name == "slipway"
    about = client.get_model_metadata(MODEL)
    assert {(i.name, i.datatype) for i in about.inputs} == set(INPUTS)
    assert {o.name for o in about.outputs} >= {"probability", "label"}
    assert client.get_model_config(MODEL).config.name == MODEL
    assert [m.name for m in client.get_model_repository_index().models] == [MODEL]
    client.load_model(MODEL)


def test_both_ports_give_the_same_bits(deployed, client):
    x, kind, day = [1.5, 90.0, 33.25], ["a", "b", "c"], ["2013-01-05"] * 3
    answer = client.infer(MODEL, tensors(x, kind, day), request_id="both")
    assert answer.get_response().id == "both"
    assert answer.as_numpy("probability").tolist() == over_http(deployed[0], x, kind, day)
    assert answer.as_numpy("label").dtype == numpy.int64
    statistics = client.get_inference_statistics(MODEL).model_stats[0]
    assert statistics.inference_count >= 6 and statistics.inference_stats.success.count >= 2


def test_typed_contents_are_answered_in_typed_contents(call):
    answer = call("ModelInfer", message(2), service_pb2.ModelInferResponse)
    assert not answer.raw_output_contents
    assert len(answer.outputs[0].contents.fp64_contents) == 2


@pytest.mark.parametrize("compression", ["gzip", "deflate"])
def test_compressed_requests_and_named_outputs(client, compression):
    answer = client.infer(
        MODEL, tensors([1.0], ["a"], ["2013-01-05"]),
        outputs=[triton.InferRequestedOutput("label")], compression_algorithm=compression,
    )
    assert [o.name for o in answer.get_response().outputs] == ["label"]


@pytest.mark.parametrize("datatype,code", [("FP32", "f"), ("INT64", "q"), ("UINT8", "B"), ("FP16", "e"), ("INT16", "h")])
def test_every_numeric_datatype_fills_a_number_column(call, datatype, code):
    def answered(kind, raw):
        request = service_pb2.ModelInferRequest(model_name=MODEL)
        for (name, usual), bytes_ in zip(INPUTS, (raw, b"\1\0\0\0a", b"\x0a\0\0\0" + b"2013-01-05")):
            request.inputs.add(name=name, datatype=kind if name == "x" else usual, shape=[1])
            request.raw_input_contents.append(bytes_)
        return call("ModelInfer", request, service_pb2.ModelInferResponse).raw_output_contents[0]

    assert answered(datatype, struct.pack("<" + code, 3)) == answered("FP64", struct.pack("<d", 3))


def test_messages_beyond_four_mebibytes(client):
    rows = 20_000
    answer = client.infer(MODEL, tensors(list(map(float, range(rows))), ["a" * 200] * rows, ["2013-01-05"] * rows))
    assert answer.as_numpy("probability").shape == (rows,)


def bad_requests():
    yield "unknown model", "NOT_FOUND", service_pb2.ModelInferRequest(model_name="nobody")
    yield "unknown version", "NOT_FOUND", message(model_version="77")
    yield "no inputs", "INVALID_ARGUMENT", service_pb2.ModelInferRequest(model_name=MODEL)
    yield "newline in id", "INVALID_ARGUMENT", message(id="a\nb")
    for what, change in {
        "missing input": lambda m: m.inputs.pop(),
        "unknown input": lambda m: setattr(m.inputs[0], "name", "y"),
        "same input twice": lambda m: setattr(m.inputs[2], "name", "kind"),
        "wrong datatype": lambda m: setattr(m.inputs[0], "datatype", "BYTES"),
        "unknown datatype": lambda m: setattr(m.inputs[0], "datatype", "FP7"),
        "negative dimension": lambda m: m.inputs[0].shape.__setitem__(0, -1),
        "huge dimension": lambda m: m.inputs[0].shape.__setitem__(0, 2**62),
        "no dimension": lambda m: m.inputs[0].ClearField("shape"),
        "too many values": lambda m: m.inputs[0].contents.fp64_contents.append(1),
        "wrong field": lambda m: (m.inputs[0].contents.ClearField("fp64_contents"), m.inputs[0].contents.fp32_contents.append(1)),
        "surplus raw contents": lambda m: m.raw_input_contents.extend([b"x"] * 4),
        "too few raw contents": lambda m: m.raw_input_contents.append(b"x"),
        "contents and raw": lambda m: m.raw_input_contents.extend([b"x"] * 3),
        "unknown output": lambda m: m.outputs.add(name="odds"),
        "bad time": lambda m: m.inputs[2].contents.bytes_contents.__setitem__(0, b"yesterday"),
    }.items():
        request = message()
        change(request)
        yield what, "INVALID_ARGUMENT", request


@pytest.mark.parametrize("what,code,request_", list(bad_requests()), ids=lambda value: value if isinstance(value, str) else "")
def test_what_a_caller_does_wrong_is_said_to_be_the_callers(call, what, code, request_):
    with pytest.raises(grpc.RpcError) as refused:
        call("ModelInfer", request_, service_pb2.ModelInferResponse)
    assert refused.value.code().name == code, refused.value.details()
    assert refused.value.details()


def test_bytes_that_are_no_message_do_not_harm(call, client):
    for junk in (b"\xff" * 64, message().SerializeToString()[:-3], b"\x2a\xff\xff\xff\xff\x0f"):
        with pytest.raises(grpc.RpcError):
            call("ModelInfer", junk, service_pb2.ModelInferResponse)
    assert client.is_server_live()


def test_a_stream_answers_in_order_and_outlives_a_bad_request(client):
    answers = queue.Queue()
    client.start_stream(callback=lambda result, error: answers.put((result, error)))
    try:
        for number in range(20):
            client.async_stream_infer(MODEL, tensors([float(number)], ["a"], ["2013-01-05"]), request_id=f"stream-{number}")
        client.async_stream_infer("nobody", tensors([1.0], ["a"], ["2013-01-05"]))
        client.async_stream_infer(MODEL, tensors([1.0], ["a"], ["2013-01-05"]), request_id="after")
        got = [answers.get(timeout=10) for _ in range(22)]
    finally:
        client.stop_stream()
    assert [result.get_response().id for result, _ in got[:20]] == [f"stream-{n}" for n in range(20)]
    assert "nobody" in str(got[20][1])
    assert got[21][0].get_response().id == "after"


def test_the_asyncio_client_and_many_callers_get_their_own_answers(deployed):
    server, address = deployed
    xs = [float(n % 101) for n in range(200)]
    want = over_http(server, xs, ["b"] * 200, ["2013-01-09"] * 200)

    async def ask():
        async with triton_aio.InferenceServerClient(address) as client:
            answers = await asyncio.gather(
                *(client.infer(MODEL, tensors([x], ["b"], ["2013-01-09"], triton_aio), request_id=f"own-{n}") for n, x in enumerate(xs))
            )
        return answers

    answers = asyncio.run(ask())
    assert [a.get_response().id for a in answers] == [f"own-{n}" for n in range(200)]
    assert [a.as_numpy("probability")[0] for a in answers] == want


def test_a_timeout_that_is_over_is_not_computed(client):
    rows = 5_000
    with pytest.raises(InferenceServerException) as late:
        client.infer(MODEL, tensors([1.0] * rows, ["a"] * rows, ["2013-01-05"] * rows), timeout=1)
    assert "DEADLINE_EXCEEDED" in str(late.value) and "timeout of 1 us" in str(late.value)
    assert client.infer(MODEL, tensors([1.0], ["a"], ["2013-01-05"]), timeout=60_000_000) is not None


def test_callers_that_go_away_leave_the_others_alone(deployed, client):
    def cut(_):
        channel = grpc.insecure_channel(deployed[1], options=[("grpc.use_local_subchannel_pool", 1)])
        stub = channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer",
            request_serializer=lambda m: m.SerializeToString(), response_deserializer=lambda b: b,
        )
        for _ in range(20):
            stub.future(message(50)).cancel()
        channel.close()

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(cut, range(8)))
    assert client.infer(MODEL, tensors([1.0], ["a"], ["2013-01-05"])).as_numpy("label") is not None


def test_the_health_service(deployed):
    with grpc.insecure_channel(deployed[1]) as channel:
        check = channel.unary_unary("/grpc.health.v1.Health/Check", request_serializer=bytes, response_deserializer=bytes)
        assert check(b"", timeout=5) == b"\x08\x01"  # SERVING
        with pytest.raises(grpc.RpcError) as unknown:
            check(b"\x0a\x01x", timeout=5)
        assert unknown.value.code() is grpc.StatusCode.NOT_FOUND


def test_what_is_deployed_is_not_unloaded_behind_its_back(client):
    with pytest.raises(InferenceServerException) as refused:
        client.unload_model(MODEL)
    assert "deployed" in str(refused.value)


def test_a_taken_port_is_said(deployed, tmp_path):
    taken = deployed[1].rsplit(":", 1)[1]
    server = SlipwayServer(tmp_path / "home", args=("--grpc-port", taken))
    with pytest.raises(AssertionError, match="--grpc-port"):
        server.start()


def test_sigterm_answers_what_is_under_way(tmp_path_factory, deployed):
    home = tmp_path_factory.mktemp("term") / "home"
    slipway(home, "run", small_pipeline(tmp_path_factory.mktemp("term-model"), PIPELINE))
    port = free_port()
    server = SlipwayServer(home, args=("--grpc-port", str(port)))
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer",
            request_serializer=lambda m: m.SerializeToString(),
            response_deserializer=service_pb2.ModelInferResponse.FromString,
        )
        calls = [stub.future(message(200), timeout=20) for _ in range(50)]
        calls[0].result()
        assert server.stop() == 0
        codes = [c.code() for c in calls]
    assert codes.count(grpc.StatusCode.OK) >= 1
    # The library's own answer to a call that has come in and was never begun is CANCELLED.
    assert set(codes) <= {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
