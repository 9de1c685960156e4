"""A damaged data set is repaired by what the messages advise, and only what is not whole is written again."""

import json
import re
import shutil

import pytest

from bigearth_tf.data.manifest import MANIFEST_NAME, read_manifest, write_manifest
from bigearth_tf.data.sharded_dataset import ShardedDataset
from tests.support import warm_python
from tests.support.archives import S2_NAMES, random_pixels, write_lists, write_pair
from tests.support.files import contents
from tests.support.paths import REPOSITORY
from tfrecord_tools.conversion.convert_source import ConversionOptions, convert
from tfrecord_tools.conversion.finalization import finalize
from tfrecord_tools.conversion.shards import WORK_DIR
from tfrecord_tools.records.band_moments import compute_moments, replace_statistics
from tfrecord_tools.source import SourceInputs
from tfrecord_tools.sources import open_source

# A shard to damage, of 4 of the training split.
HIT = "train-00001-of-00004.tfrecord"


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    root = tmp_path_factory.mktemp("archive")
    for index in range(14):
        write_pair(root, index, ["Pastures"], lambda band, index=index: random_pixels(band, index))
    write_lists(root / "lists", {"train": list(range(12)), "val": [12], "test": [13]})
    return root


def open_archive(root, **changes):
    inputs = {"s2": str(root / "s2"), "lists_dir": str(root / "lists"), **changes}
    return open_source("bigearthnet_v1", SourceInputs(**inputs))


def run(root, folder, **options):
    return convert(open_archive(root), folder, ConversionOptions(**{"num_shards": 4, **options}))


@pytest.fixture(scope="module")
def records(archive, tmp_path_factory):
    folder = tmp_path_factory.mktemp("records") / "whole"
    run(archive, folder)
    return folder


@pytest.fixture
def copy(records, tmp_path):
    return shutil.copytree(records, tmp_path / "copy")


def inodes(folder):
    return {path.name: path.stat().st_ino for path in folder.glob("*.tfrecord")}


def rewritten(folder, before):
    return {name for name, number in inodes(folder).items() if before.get(name) != number}


def lose(path):
    path.unlink()


def cut(path):
    path.write_bytes(path.read_bytes()[:-1000])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(("damage", "repair"), [(lose, False), (cut, False), (flip, True)])
def test_a_damaged_shard_alone_is_written_again(archive, records, copy, damage, repair):
    before = inodes(copy)
    damage(copy / HIT)
    run(archive, copy, repair=repair)
    assert contents(copy) == contents(records)
    assert rewritten(copy, before) == {HIT}


def test_every_reader_of_a_damaged_data_set_advises_what_repairs_it(archive, records, copy):
    lose(copy / HIT)
    for read in (read_manifest, ShardedDataset.open, finalize):
        with pytest.raises(FileNotFoundError, match=rf"{HIT}.*tfrecord_tools.convert. command .* again with --repair"):
            read(copy)
    run(archive, copy, repair=True)
    assert contents(copy) == contents(records)


def test_statistics_survive_a_repair_that_gives_the_same_bytes(archive, copy):
    dataset = ShardedDataset.open(copy)
    written = replace_statistics(dataset.manifest, "train", compute_moments(dataset, "train"))
    write_manifest(written, copy)
    lose(copy / HIT)
    assert run(archive, copy) == written
    assert read_manifest(copy) == written


def test_a_repair_keeps_the_patches_that_were_tolerated(archive, tmp_path):
    broken = shutil.copytree(archive, tmp_path / "broken")
    shutil.rmtree(broken / "s2" / S2_NAMES[3])
    (broken / "s2" / S2_NAMES[3]).mkdir()
    folder = tmp_path / "out"
    manifest = run(broken, folder, allow_problems=1)
    before, whole = inodes(folder), contents(folder)
    other = next(shard.name for shard in manifest.shards if shard.split == "train" and shard.num_records == 3)
    lose(folder / other)
    run(broken, folder, allow_problems=1)
    assert contents(folder) == whole
    assert rewritten(folder, before) == {other}


def test_a_repair_that_was_killed_is_completed(archive, records, copy):
    """Killed after the manifest was put aside, with one shard lost and the one after it damaged."""
    lose(copy / HIT)
    flip(copy / "train-00002-of-00004.tfrecord")
    interrupted = open_archive(archive)

    def killed(ref):
        raise KeyboardInterrupt

    object.__setattr__(interrupted, "read", killed)
    with pytest.raises(KeyboardInterrupt):
        convert(interrupted, copy, ConversionOptions(num_shards=4, repair=True))
    assert not (copy / MANIFEST_NAME).exists()
    run(archive, copy, repair=True)
    assert contents(copy) == contents(records)


def test_several_tasks_repair_a_data_set(archive, records, copy):
    before = inodes(copy)
    lose(copy / HIT)
    flip(copy / "train-00002-of-00004.tfrecord")
    for task in (1, 0):
        run(archive, copy, repair=True, task_index=task, num_tasks=2)
    finalize(copy)
    assert contents(copy) == contents(records)
    assert rewritten(copy, before) == {HIT, "train-00002-of-00004.tfrecord"}


def remove_manifest(folder):
    (folder / MANIFEST_NAME).unlink()


def cut_manifest(folder):
    cut(folder / MANIFEST_NAME)


@pytest.mark.parametrize("damage", [remove_manifest, cut_manifest])
def test_without_its_manifest_a_data_set_is_repaired_on_request(archive, records, copy, damage):
    before = inodes(copy)
    damage(copy)
    flip(copy / HIT)
    with pytest.raises(ValueError, match="with --repair"):
        run(archive, copy)
    assert rewritten(copy, before) == set()
    run(archive, copy, repair=True)
    assert contents(copy) == contents(records)
    assert rewritten(copy, before) == {HIT}


@pytest.mark.parametrize(
    "change", [{"nomenclature": "43"}, {"s1": True}, {"compression": "GZIP"}], ids=lambda change: next(iter(change))
)
def test_shards_of_another_conversion_with_the_same_names_are_not_kept(archive, records, tmp_path, change):
    folder = tmp_path / "other"
    compression = change.get("compression", "")
    inputs = {
        key: str(archive / "s1") if key == "s1" else value for key, value in change.items() if key != "compression"
    }
    convert(open_archive(archive, **inputs), folder, ConversionOptions(num_shards=4, compression=compression))
    remove_manifest(folder)
    run(archive, folder, repair=True)
    assert contents(folder) == contents(records)


def test_a_manifest_of_another_version_is_not_overwritten(archive, copy):
    content = json.loads((copy / MANIFEST_NAME).read_text())
    (copy / MANIFEST_NAME).write_text(json.dumps({**content, "schema_version": 2, "new": 1}))
    before = contents(copy)
    with pytest.raises(ValueError, match="schema version 2, this code reads 1. Use the version that wrote it"):
        run(archive, copy, repair=True)
    assert contents(copy) == before


# The messages, and what they advise, as a user follows them.


def command(name, *flags):
    result = warm_python.run(["-m", f"tfrecord_tools.{name}", *flags], cwd=REPOSITORY)
    assert "Traceback" not in result.stderr, result.stderr
    return result.returncode, result.stdout + result.stderr


def test_the_advice_of_verify_repairs_a_data_set(archive, records, copy):
    first = ["--num_shards=4", f"--s2={archive / 's2'}", f"--lists_dir={archive / 'lists'}", f"--output_dir={copy}"]
    flip(copy / HIT)
    lose(copy / "val-00000-of-00001.tfrecord")
    code, said = command("verify", f"--data_dir={copy}")
    assert code == 1
    assert f"{copy / HIT}: SHA-256 differs" in said
    assert f"{copy / 'val-00000-of-00001.tfrecord'}: is missing" in said
    (advised,) = re.findall(
        "Run the `python -m tfrecord_tools.convert` command of this data set again with (--repair)", said
    )
    code, said = command("convert", *first, "--workers=1", advised)
    assert (code, f"wrote {copy / MANIFEST_NAME}" in said) == (0, True), said
    assert contents(copy) == contents(records)
    code, said = command("verify", f"--data_dir={copy}")
    assert (code, said.startswith("PASS")) == (0, True), said


def test_a_task_with_broken_patches_fails_and_its_advice_works(archive, tmp_path, caplog):
    broken = shutil.copytree(archive, tmp_path / "broken")
    band = broken / "s2" / S2_NAMES[3] / f"{S2_NAMES[3]}_B02.tif"
    whole = band.read_bytes()
    band.write_bytes(whole[:500])
    folder = tmp_path / "out"
    outcomes = []
    for task in range(2):
        try:
            run(broken, folder, task_index=task, num_tasks=2)
        except ValueError as error:
            outcomes.append((task, str(error)))
    ((task, said),) = outcomes
    table = folder / f"problems-{task}-of-2.csv"
    assert f"task {task} of 2: 1 of " in said
    assert f"{table} names all of them" in said
    assert "B02.tif" in table.read_text()
    # To leave them out, as advised:
    tolerated = shutil.copytree(folder, tmp_path / "tolerated")
    assert "run finalize with --allow_problems=N" in said
    assert len(finalize(tolerated, allow_problems=1).problems) == 1
    assert not list(tolerated.glob("*.csv"))
    # Tolerated from the start, they are said:
    run(broken, folder, task_index=task, num_tasks=2, allow_problems=1)
    assert f"task {task} of 2: 1 of 7 patches is broken, 1 is allowed" in caplog.text
    # To fix them:
    assert "Fix them and run this task again" in said
    band.write_bytes(whole)
    run(broken, folder, task_index=task, num_tasks=2)
    assert not table.exists()
    finalize(folder)


def test_a_lost_task_is_named_and_both_ways_to_complete_work(archive, records, tmp_path):
    folder = tmp_path / "out"
    for task in (0, 2):
        run(archive, folder, task_index=task, num_tasks=3)
    with pytest.raises(FileNotFoundError, match="those of task 1 of 3. Run each again") as raised:
        finalize(folder)
    assert "or run the conversion once without both flags" in str(raised.value)
    again = shutil.copytree(folder, tmp_path / "again")
    run(archive, again)
    run(archive, folder, task_index=1, num_tasks=3)
    finalize(folder)
    assert contents(folder) == contents(again) == contents(records)
    assert not (folder / WORK_DIR).exists()


def test_an_unfinished_conversion_of_one_process_is_completed_as_advised(archive, records, copy):
    (copy / HIT).unlink()
    run(archive, copy, task_index=1, num_tasks=2)
    (copy / WORK_DIR / "plan.json").write_text(
        json.dumps({**json.loads((copy / WORK_DIR / "plan.json").read_text()), "num_tasks": 1})
    )
    (copy / HIT).unlink(missing_ok=True)
    with pytest.raises(FileNotFoundError, match="Run the command that started the conversion again"):
        finalize(copy)
    run(archive, copy)
    assert contents(copy) == contents(records)
