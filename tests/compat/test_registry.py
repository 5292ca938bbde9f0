"""The registry in full through MLflow's real client: search, stages, prompts, where versions may come from, and what
served when."""

import datetime
import json
import subprocess
import time
import uuid

import mlflow
import pytest
import requests
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from support.mlflow_calls import error_code
from support.slipway_server import SlipwayServer, binary

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


@pytest.fixture()
def mark():
    """A beginning that only this test's names have."""
    return f"r{uuid.uuid4().hex[:12]}"


class TestSearchModels:
    @pytest.fixture()
    def models(self, client, mark):
        """a, b and c, made in that order; b was changed last."""
        for letter, team in (("a", "ops"), ("b", "science"), ("c", "ops")):
            client.create_registered_model(f"{mark}-{letter}", tags={"team": team}, description=f"model {letter}")
            time.sleep(0.003)
        client.update_registered_model(f"{mark}-b", "changed")
        client.set_registered_model_tag(f"{mark}-c", "prod", "yes")
        return mark

    @pytest.mark.parametrize(
        ("more", "letters"),
        [
            ("", "abc"),
            (" AND tags.team = 'ops'", "ac"),
            (" AND tag.team != 'ops'", "b"),
            (" AND tags.team ILIKE 'OPS' AND tags.prod = 'yes'", "c"),
            (" AND name ILIKE '%-B'", "b"),
            (" AND name != '{mark}-a'", "bc"),
            (" AND name IN ('{mark}-a', '{mark}-c')", "ac"),
            (" AND tags.`mlflow.prompt.is_prompt` != 'true'", "abc"),
        ],
    )
    def test_filters(self, client, models, more, letters):
        found = client.search_registered_models(f"name LIKE '{models}%'" + more.format(mark=models))
        assert "".join(m.name[-1] for m in found) == letters

    @pytest.mark.parametrize(
        ("order_by", "letters"),
        [
            (["name DESC"], "cba"),
            (["creation_timestamp DESC"], "cba"),
            (["last_updated_timestamp ASC"], "abc"),
            (["creation_timestamp ASC", "name DESC"], "abc"),
        ],
    )
    def test_orders(self, client, models, order_by, letters):
        found = client.search_registered_models(f"name LIKE '{models}%'", order_by=order_by)
        assert "".join(m.name[-1] for m in found) == letters

    def test_pages(self, client, models):
        first = client.search_registered_models(f"name LIKE '{models}%'", max_results=2)
        second = client.search_registered_models(f"name LIKE '{models}%'", max_results=2, page_token=first.token)
        assert "".join(m.name[-1] for m in [*first, *second]) == "abc"
        assert not second.token

    @pytest.mark.parametrize("bad", ["colour = 'x'", "name > 'a'", "name = 5", "tags.a = 5", "params.a = 'x'"])
    def test_bad_filters(self, client, bad):
        assert error_code(client.search_registered_models, bad) == "INVALID_PARAMETER_VALUE"

    def test_bad_orders(self, client):
        assert error_code(client.search_registered_models, order_by=["tags.a"]) == "INVALID_PARAMETER_VALUE"


class TestSearchVersions:
    @pytest.fixture()
    def versions(self, client, mark):
        """Four versions of two models: a/1, a/2, b/1, b/2."""
        for letter in "ab":
            client.create_registered_model(f"{mark}-{letter}")
        for number in (1, 2):
            for letter in "ab":
                client.create_model_version(
                    f"{mark}-{letter}",
                    f"runs:/{mark}{letter}{number}/model",
                    f"{mark}{letter}{number}",
                    tags={"number": str(number)},
                    description="why",
                )
                time.sleep(0.003)
        return mark

    @pytest.mark.parametrize(
        ("filter_string", "found"),
        [
            ("name LIKE '{mark}%'", "a2 a1 b2 b1"),
            ("name = '{mark}-a'", "a2 a1"),
            ("run_id = '{mark}b1'", "b1"),
            ("run_id IN ('{mark}b1', '{mark}a2')", "a2 b1"),
            ("source_path = 'runs:/{mark}a1/model'", "a1"),
            ("name LIKE '{mark}%' AND tags.number = '1'", "a1 b1"),
            ("name = '{mark}-a' AND version_number > 1", "a2"),
        ],
    )
    def test_filters(self, client, versions, filter_string, found):
        got = client.search_model_versions(filter_string.format(mark=versions))
        assert " ".join(f"{v.name[-1]}{v.version}" for v in got) == found

    @pytest.mark.parametrize(
        ("order_by", "found"),
        [
            (["name DESC"], "b2 b1 a2 a1"),
            (["version_number ASC"], "a1 b1 a2 b2"),
            (["creation_timestamp DESC"], "b2 a2 b1 a1"),
        ],
    )
    def test_orders(self, client, versions, order_by, found):
        got = client.search_model_versions(f"name LIKE '{versions}%'", order_by=order_by)
        assert " ".join(f"{v.name[-1]}{v.version}" for v in got) == found

    def test_what_a_version_keeps(self, client, versions):
        version = client.get_model_version(f"{versions}-a", "1")
        assert (version.description, version.status, version.tags) == ("why", "READY", {"number": "1"})
        linked = client.create_model_version(f"{versions}-a", f"runs:/{versions}/m", run_link="https://runs.example/7")
        assert client.get_model_version(f"{versions}-a", linked.version).run_link == "https://runs.example/7"


class TestStages:
    def test_latest_versions_by_stage(self, client, mark):
        client.create_registered_model(mark)
        for i in range(4):
            client.create_model_version(mark, f"runs:/{mark}{i}/model")
        client.transition_model_version_stage(mark, "1", "Production")
        client.transition_model_version_stage(mark, "2", "production", archive_existing_versions=True)
        client.transition_model_version_stage(mark, "3", "Staging")
        stages = {v.version: v.current_stage for v in client.search_model_versions(f"name = '{mark}'")}
        assert {int(k): v for k, v in stages.items()} == {1: "Archived", 2: "Production", 3: "Staging", 4: "None"}
        latest = {v.current_stage: int(v.version) for v in client.get_latest_versions(mark)}
        assert latest == {"Archived": 1, "Production": 2, "Staging": 3, "None": 4}
        assert [int(v.version) for v in client.get_latest_versions(mark, ["Staging"])] == [3]
        assert error_code(client.transition_model_version_stage, mark, "1", "Live") == "INVALID_PARAMETER_VALUE"


class TestNames:
    @pytest.mark.parametrize("name", ["a/b", "a:b", "", "x" * 257, "a\nb"])
    def test_refused(self, client, name):
        assert error_code(client.create_registered_model, name) == "INVALID_PARAMETER_VALUE"

    def test_rename_keeps_versions_and_aliases(self, client, mark):
        client.create_registered_model(mark)
        client.create_model_version(mark, f"runs:/{mark}/model")
        client.set_registered_model_alias(mark, "champion", "1")
        client.rename_registered_model(mark, f"{mark}-new")
        assert int(client.get_model_version_by_alias(f"{mark}-new", "champion").version) == 1
        client.create_registered_model(mark)  # the old name is free, and has no past
        assert client.search_model_versions(f"name = '{mark}'") == []
        assert error_code(client.rename_registered_model, mark, f"{mark}-new") == "RESOURCE_ALREADY_EXISTS"


# MLflow's CVEs of this kind, in one table: local files, other hosts, ways out, odd spellings.
BAD_SOURCES = [
    "/etc/passwd",
    "etc/passwd",
    "./model",
    "../model",
    "~/model",
    "file:///etc/passwd",
    "file:/etc/passwd",
    "FILE:///etc/passwd",
    "file://localhost/etc/passwd",
    "://etc",
    ":/etc",
    "//host/share",
    "\\\\host\\share",
    "C:\\models",
    "http://169.254.169.254/latest/meta-data",
    "https://example.org/model",
    "ftp://example.org/model",
    "s3://bucket/model",
    "gs://bucket/model",
    "dbfs:/model",
    "hdfs://host/model",
    "data:text/plain,hello",
    "javascript:alert(1)",
    "runs:",
    "runs:/",
    "runs://host/abc/model",
    "runs:///abc",
    "runs:/abc/../../etc/passwd",
    "runs:/abc/%2e%2e/x",
    "runs:/abc/%252e%252e/x",
    "runs:/abc/%25252e%25252e/x",
    "runs:/abc/./x",
    "runs:/abc/x?y=/etc/passwd",
    "runs:/abc/x#/../../etc/passwd",
    "runs:/abc/x%23y",
    "runs:/abc/x%3fy",
    "runs:/abc/x\\..\\y",
    "runs:/abc/x%5c..%5cy",
    "runs:/abc/x\x00",
    "runs:/abc/x%00",
    "runs:/abc/x\n",
    "RUNS:/abc/x",
    " runs:/abc/x",
    "models://host/m",
    "models:/",
    "mlflow-artifacts:",
    "mlflow-artifacts:/",
    "mlflow-artifacts://host:5000/1/run/artifacts",
    "mlflow-artifacts:///1/run",
    "mlflow-artifacts:/1/../../etc",
    "mlflow-artifacts:/..%2f..%2fetc",
    "mlflow-artifacts:/1/run/artifacts?x",
    "slipway:/bundles/" + "0" * 64,
    "slipway:/etc",
    "prompt-template",
    "dummy-source",
    "unknown:/x",
    "x" * 3000,
    "runs:/" + "x" * 3000,
    "models:/a/b/../c",
]


class TestSources:
    @pytest.mark.parametrize("source", BAD_SOURCES)
    @pytest.mark.parametrize("tags", [{}, {"mlflow.prompt.is_prompt": "true"}], ids=["", "prompt"])
    def test_refused_whatever_the_tags(self, server, client, source, tags):
        name = "sources"
        if not client.search_registered_models(f"name = '{name}'"):
            client.create_registered_model(name)
        if tags and source in ("prompt-template", "dummy-source"):
            pytest.skip("what prompts have")
        answer = requests.post(
            f"{server.url}/api/2.0/mlflow/model-versions/create",
            json={"name": name, "source": source, "tags": [{"key": k, "value": v} for k, v in tags.items()]},
        )
        assert answer.status_code == 400, source
        assert answer.json()["error_code"] == "INVALID_PARAMETER_VALUE"

    def test_a_root_that_was_allowed(self, tmp_path):
        with SlipwayServer(tmp_path / "home", args=("--allow-source", "s3://bucket/models/")) as server:
            client = MlflowClient(server.url, server.url)
            client.create_registered_model("m")
            assert client.create_model_version("m", "s3://bucket/models/late").source == "s3://bucket/models/late"
            for other in ("s3://bucket/modelsX", "s3://bucket/other", "s3://bucket/models/../other", "s3://other"):
                assert error_code(client.create_model_version, "m", other) == "INVALID_PARAMETER_VALUE"

    def test_a_version_of_a_version(self, client, mark):
        client.create_registered_model(mark)
        client.create_model_version(mark, f"mlflow-artifacts:/0/{mark}/artifacts/model", mark)
        client.set_registered_model_alias(mark, "champion", "1")
        for source in (f"models:/{mark}/1", f"models:/{mark}@champion"):
            made = client.create_model_version(mark, source)
            assert (made.run_id, made.source) == (mark, f"models:/{mark}/1")
            uri = client.get_model_version_download_uri(mark, made.version)
            assert uri == f"mlflow-artifacts:/0/{mark}/artifacts/model"
        assert error_code(client.create_model_version, mark, "models:/nobody/1") == "RESOURCE_DOES_NOT_EXIST"
        copied = client.copy_model_version(f"models:/{mark}/1", f"{mark}-copy")
        assert copied.source == f"models:/{mark}/1"
        assert error_code(client.create_model_version, mark, f"runs:/{mark}/m", "another") == "INVALID_PARAMETER_VALUE"


class TestPrompts:
    def test_register_load_search(self, client, mark):
        name = f"{mark}-greeting"
        first = mlflow.genai.register_prompt(
            name, "Say {{word}} to {{whom}}", commit_message="first", tags={"author": "me"}
        )
        second = mlflow.genai.register_prompt(name, "Shout {{word}}", commit_message="louder")
        assert (first.version, second.version) == (1, 2)
        assert mlflow.genai.load_prompt(name, version=1).format(word="hi", whom="you") == "Say hi to you"
        assert mlflow.genai.load_prompt(f"prompts:/{name}/2").commit_message == "louder"
        assert mlflow.genai.load_prompt(f"prompts:/{name}@latest").version == 2
        mlflow.genai.set_prompt_alias(name, "production", 1)
        assert mlflow.genai.load_prompt(f"prompts:/{name}@production").template == "Say {{word}} to {{whom}}"
        mlflow.genai.delete_prompt_alias(name, "production")
        with pytest.raises(MlflowException):
            mlflow.genai.load_prompt(f"prompts:/{name}@production")
        assert [p.name for p in mlflow.genai.search_prompts(filter_string=f"name LIKE '{mark}%'")] == [name]
        versions = client.search_prompt_versions(name)
        assert sorted(v.version for v in versions) == [1, 2]

    def test_chat_prompts_and_missing_ones(self, client, mark):
        messages = [{"role": "system", "content": "Be kind"}, {"role": "user", "content": "{{question}}"}]
        mlflow.genai.register_prompt(f"{mark}-chat", messages)
        loaded = mlflow.genai.load_prompt(f"{mark}-chat", version=1)
        assert loaded.format(question="Why?")[1] == {"role": "user", "content": "Why?"}
        assert mlflow.genai.load_prompt("nobody", version=1, allow_missing=True) is None

    def test_tags_of_prompts_and_versions(self, client, mark):
        mlflow.genai.register_prompt(f"{mark}-p", "Hello")
        client.set_prompt_tag(f"{mark}-p", "team", "ops")
        client.set_prompt_version_tag(f"{mark}-p", 1, "checked", "yes")
        assert client.get_prompt(f"{mark}-p").tags["team"] == "ops"
        assert mlflow.genai.load_prompt(f"{mark}-p", version=1).tags["checked"] == "yes"
        found = mlflow.genai.search_prompts(filter_string=f"name LIKE '{mark}%' AND tags.team = 'ops'")
        assert [p.name for p in found] == [f"{mark}-p"]
        client.delete_prompt_version_tag(f"{mark}-p", 1, "checked")
        client.delete_prompt_tag(f"{mark}-p", "team")
        assert "team" not in client.get_prompt(f"{mark}-p").tags

    def test_models_and_prompts_do_not_mix(self, client, mark):
        mlflow.genai.register_prompt(f"{mark}-prompt", "Hello")
        client.create_registered_model(f"{mark}-model")
        assert [m.name for m in client.search_registered_models(f"name LIKE '{mark}%'")] == [f"{mark}-model"]
        assert [v.name for v in client.search_model_versions(f"name LIKE '{mark}%'")] == []
        with pytest.raises(MlflowException, match="same name as an existing model"):
            mlflow.genai.register_prompt(f"{mark}-model", "Hello")

    def test_delete(self, client, mark):
        mlflow.genai.register_prompt(f"{mark}-p", "Hello")
        client.delete_prompt_version(f"{mark}-p", "1")
        client.delete_prompt(f"{mark}-p")
        assert client.get_prompt(f"{mark}-p") is None


class TestWhatServedWhen:
    def test_one_query_and_one_command(self, server, client, mark):
        client.create_registered_model(mark)
        for i in range(3):
            client.create_model_version(mark, f"runs:/{mark}{i}/model")
        now = lambda: datetime.datetime.now(datetime.timezone.utc).isoformat()
        before = now()
        times = []
        for champion, shadow in ((1, 2), (2, 3)):
            client.set_registered_model_alias(mark, "champion", str(champion))
            client.set_registered_model_alias(mark, "shadow", str(shadow))
            times.append(now())
        client.delete_registered_model_alias(mark, "shadow")
        after = now()

        def at(time):
            answer = requests.get(f"{server.url}/api/v1/models/{mark}/at", params={"time": time})
            assert answer.status_code == 200, answer.text
            return {a["alias"]: a["version"] for a in answer.json()["aliases"]}

        assert at(before) == {}
        assert at(times[0]) == {"champion": 1, "shadow": 2}
        assert at(times[1]) == {"champion": 2, "shadow": 3}
        assert at(after) == {"champion": 2}
        printed = subprocess.run(
            [binary(), "models", "at", mark, times[0], "--json", "--home", server.home],
            check=True, capture_output=True, text=True,
        )
        assert {a["alias"]: a["version"] for a in json.loads(printed.stdout)} == {"champion": 1, "shadow": 2}
        assert requests.get(f"{server.url}/api/v1/models/nobody/at", params={"time": after}).status_code == 404
        assert requests.get(f"{server.url}/api/v1/models/{mark}/at", params={"time": "noon"}).status_code == 400

    def test_every_move_is_an_audit_entry(self, server, client, mark):
        client.create_registered_model(mark)
        for _ in range(2):
            client.create_model_version(mark, f"runs:/{mark}/model")
        client.set_registered_model_alias(mark, "champion", "1")
        client.set_registered_model_alias(mark, "champion", "1")  # no move
        client.set_registered_model_alias(mark, "champion", "2")
        client.delete_registered_model_alias(mark, "champion")
        entries = requests.get(
            f"{server.url}/api/v1/audit", params={"object": f"models/{mark}@champion", "limit": 100}
        ).json()["entries"]
        moves = [(e["action"], e["details"]["from"], e["details"]["to"]) for e in entries]
        assert moves == [("alias.set", None, 1), ("alias.set", 1, 2), ("alias.delete", 2, None)]
