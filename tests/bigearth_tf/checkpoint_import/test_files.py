"""Finding a checkpoint in a zip, in a folder or by a prefix, and the errors for damaged files."""

import shutil
import zipfile

import numpy as np
import pytest
import tensorflow as tf

from bigearth_tf.checkpoint_import.files import hash_data_files, open_checkpoint, open_reader, read_tensor

KEY = "model/layer_with_weights-0/kernel/.ATTRIBUTES/VARIABLE_VALUE"
DATA = "data-00000-of-00001"


@pytest.fixture
def folder(tmp_path):
    """Three checkpoints of one training; the last one trained is not the last one by name."""
    folder = tmp_path / "checkpoint_Some"
    folder.mkdir()
    for number in (1, 2, 10):
        write(folder / f"checkpoints-{number}", number)
    name_last(folder, "/lustre/of/somebody/checkpoint_Some/checkpoints-10")
    return folder


def write(prefix, value):
    tf.raw_ops.SaveV2(
        prefix=str(prefix), tensor_names=[KEY], shape_and_slices=[""], tensors=[tf.fill([1000], float(value))]
    )


def name_last(folder, path):
    text = f'model_checkpoint_path: "{path}"\nall_model_checkpoint_paths: "checkpoints-1"\n'
    (folder / "checkpoint").write_text(text)


def value_of(path):
    with open_checkpoint(path) as prefix:
        return float(read_tensor(open_reader(prefix), prefix, KEY)[0])


def zipped(folder):
    path = folder.parent / "some.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in folder.rglob("*"):
            archive.write(file, file.relative_to(folder.parent))
    return path


def test_a_checkpoint_is_found_by_zip_folder_prefix_or_file(folder):
    assert value_of(folder) == value_of(folder.parent) == value_of(zipped(folder)) == 10
    for name in ("checkpoints-2", "checkpoints-2.index", f"checkpoints-2.{DATA}"):
        assert value_of(folder / name) == 2


@pytest.mark.parametrize("path", ["checkpoints-2", "./checkpoints-2", "C:\\\\runs\\\\checkpoints-2"])
def test_only_the_base_name_is_read_from_the_file_checkpoint(path, folder):
    name_last(folder, path)
    assert value_of(folder) == 2


def test_a_path_to_another_folder_is_never_followed(folder, tmp_path):
    write(tmp_path / "elsewhere", 99)
    name_last(folder, tmp_path / "elsewhere")
    with pytest.raises(FileNotFoundError, match="names elsewhere, which is missing; found checkpoints-1"):
        value_of(folder)


def test_several_possible_checkpoints_are_listed(folder):
    (folder / "checkpoint").unlink()
    with pytest.raises(ValueError, match="contains checkpoints-1, checkpoints-10, checkpoints-2 and no file"):
        value_of(folder)
    (folder / "checkpoint").write_text("nonsense")
    with pytest.raises(ValueError, match="names no checkpoint"):
        value_of(folder)
    shutil.copytree(folder, folder.parent / "other")
    with pytest.raises(ValueError, match=r"several folders \(checkpoint_Some, other\)"):
        value_of(folder.parent)


def test_a_path_without_a_checkpoint_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="no zip, no folder, and no checkpoint"):
        value_of(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="contains no checkpoint"):
        value_of(tmp_path)
    (tmp_path / "text.zip").write_text("no zip")
    with pytest.raises(ValueError, match=r"text\.zip: this zip is damaged"):
        value_of(tmp_path / "text.zip")


def test_the_folder_of_an_unpacked_zip_is_deleted(folder):
    with open_checkpoint(zipped(folder)) as prefix:
        assert prefix.with_name(f"{prefix.name}.index").is_file()
        unpacked = prefix.parent
    assert not unpacked.exists()


@pytest.mark.parametrize("damage", ["cut", "flipped", "missing", "index cut", "index flipped", "index empty"])
def test_a_damaged_file_is_an_error_with_its_name(damage, folder):
    path = folder / f"checkpoints-2.{'index' if damage.startswith('index') else DATA}"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    if damage == "missing":
        path.unlink()
    else:
        half = bytes(data[: len(data) // 2])
        path.write_bytes({"cut": half, "index cut": half, "index empty": b""}.get(damage, bytes(data)))
    with pytest.raises(ValueError, match="checkpoints-2: the checkpoint is damaged, cut short or incomplete"):
        value_of(folder / "checkpoints-2")


def test_hashes_are_those_of_the_data_files_of_one_checkpoint(folder):
    hashes = hash_data_files(folder / "checkpoints-1")
    assert list(hashes) == [f"checkpoints-1.{DATA}"]  # Not that of checkpoints-10.
    assert len(next(iter(hashes.values()))) == 64
    assert np.unique([*hashes.values(), *hash_data_files(folder / "checkpoints-2").values()]).size == 2
