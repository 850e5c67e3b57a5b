import stat
from pathlib import Path

import pytest

from billing_site.supervisor import state


@pytest.fixture
def var(tmp_path: Path) -> state.VarFolder:
    return state.VarFolder(path=tmp_path / "var")


class TestLock:
    def test_admits_one(self, var: state.VarFolder) -> None:
        var.lock()
        with pytest.raises(state.AlreadyRunning, match="running already"):
            var.lock()

    def test_tells_whether_one_runs(self, var: state.VarFolder) -> None:
        assert not var.is_running()
        var.lock()
        assert var.is_running()


class TestSecret:
    def test_is_made_once_and_only_its_owner_reads_it(self, var: state.VarFolder) -> None:
        var.make()
        first = var.secret("secret-key")
        assert len(first) >= 50
        assert var.secret("secret-key") == first
        (file,) = var.path.glob("*.secret")
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


class TestWriteJson:
    def test_replaces_the_file_whole_and_only_its_owner_reads_it(self, tmp_path: Path) -> None:
        file = tmp_path / "services.json"
        file.write_text("{broken")
        file.chmod(0o644)
        state.write_json(file, {"pid": 1})
        assert state.read_json(file) == {"pid": 1}
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert [path.name for path in tmp_path.iterdir()] == ["services.json"]

    def test_reads_no_file_as_empty(self, tmp_path: Path) -> None:
        assert state.read_json(tmp_path / "none.json") == {}
