"""Several manifests as one, and one manifest with several data sets: label sets, rows, leaks, refusals."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from augmentor.data.manifest import read_manifest, read_manifests, refuse_split_leaks, split_leaks
from augmentor.errors import ManifestError

Write = Callable[[str, str], Path]

TONE = "path,id,split,tone\n1.png,a,train,dark\n2.png,b,train,light\n9.png,t,test,dark\n"
STYLE = "path,id,split,style,woman\n3.png,c,train,3d,1\n4.png,d,train,flat,\n9.png,t,test,3d,0\n"


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_text(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return write_text


def refused(*paths: Path, **options: object) -> str:
    """Read manifests that must be refused and return the message."""
    with pytest.raises(ManifestError) as caught:
        read_manifests(paths, **options)  # type: ignore[arg-type]
    return str(caught.value)


# ---- several manifests ----


def test_two_label_sets(write: Write) -> None:
    a, b = write("tone.csv", TONE), write("style.csv", STYLE)
    joint = read_manifests([a, b])
    assert joint.space.names == ("tone", "style", "woman")
    assert joint.space.label_sets == (("tone",), ("style", "woman"))
    assert joint.codes.tolist() == [[0, -1, -1], [1, -1, -1], [0, -1, -1], [-1, 0, 1], [-1, 1, -1], [-1, 0, 0]]
    assert joint.label_set_of_rows().tolist() == [0, 0, 0, 1, 1, 1]
    rows = joint.rows
    assert rows["dataset"].tolist() == ["tone"] * 3 + ["style"] * 3
    assert rows["file"].tolist() == [str(a)] * 3 + [str(b)] * 3
    assert rows["line"].tolist() == [2, 3, 4, 2, 3, 4]
    assert rows["id"].tolist() == ["a", "b", "tone-t", "c", "d", "style-t"]
    assert joint.image_path(5) == joint.image_path(2) == a.parent / "9.png"
    assert joint.has_splits
    assert joint.paths == (a, b)
    assert joint.notes == (f"{a}, {b}: 2 label sets: tone | style, woman",)
    assert joint.split_mask(["test"]).tolist() == [False, False, True, False, False, True]
    assert joint.select([5, 0]).label_set_of_rows().tolist() == [1, 0]


def test_one_manifest_reads_as_ever(write: Write) -> None:
    path = write("tone.csv", TONE)
    one, alone = read_manifests([path]), read_manifest(path)
    assert one.space == alone.space
    assert one.space.label_sets == ()
    assert one.rows.equals(alone.rows)
    assert one.label_set_of_rows().tolist() == [0, 0, 0]


def test_manifests_of_other_folders_keep_their_images(write: Write, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.png"
    a = write("a/manifest.csv", "path,tone\nx.png,dark\n")
    b = write("b/manifest.csv", f"path,style\nx.png,3d\nsub/y.png,flat\n{elsewhere},3d\n")
    joint = read_manifests([a, b])
    found = [joint.image_path(i) for i in range(4)]
    assert found == [tmp_path / "a/x.png", tmp_path / "b/x.png", tmp_path / "b/sub/y.png", elsewhere]
    assert joint.rows["path"][0] == "x.png"
    assert joint.rows["dataset"].tolist() == ["a-manifest"] + ["b-manifest"] * 3
    assert joint.rows["id"].is_unique


def test_equal_attributes_are_joined_without_a_mask(write: Write) -> None:
    a = write("a.csv", "path,hair,male\n1.png,black,1\n2.png,blond,0\n")
    b = write("b.csv", "path,male,hair\n3.png,0,brown\n4.png,1,blond\n5.png,,\n")
    joint = read_manifests([a, b])
    assert joint.space.label_sets == ()
    assert joint.space["hair"].values == ("black", "blond", "brown")
    assert joint.codes.tolist() == [[0, 1], [1, 0], [2, 0], [1, 1], [-1, -1]]
    assert joint.label_set_of_rows().tolist() == [0] * 5
    assert joint.notes[-1].endswith("they have the same attributes, so their rows are joined")


def test_three_manifests_two_label_sets(write: Write) -> None:
    paths = [
        write("a.csv", "path,tone\n1.png,dark\n2.png,light\n"),
        write("b.csv", "path,style\n3.png,3d\n"),
        write("c.csv", "path,tone\n4.png,light\n"),
    ]
    joint = read_manifests(paths)
    assert joint.space.label_sets == (("tone",), ("style",))
    assert joint.label_set_of_rows().tolist() == [0, 0, 1, 0]


def test_a_data_set_column_is_kept_and_a_missing_split_column_remarked_on(write: Write) -> None:
    a = write("a.csv", "path,dataset,split,tone\n1.png,faces,train,dark\n2.png,,val,light\n")
    joint = read_manifests([a, write("b.csv", "path,style\n3.png,3d\n")])
    assert joint.rows["dataset"].tolist() == ["faces", "", "b"]
    assert joint.rows["split"].tolist() == ["train", "val", "train"]
    assert any("b.csv: no column 'split', so all its rows are train" in note for note in joint.notes)


def test_attributes_and_one_hot_groups_find_their_manifest(write: Write) -> None:
    a = write("a.csv", "path,Black,Blond,male,age\n1.png,1,0,1,0\n2.png,0,1,0,1\n")
    b = write("b.csv", "path,style,male\n3.png,3d,1\n")
    one_hot = {"hair": ("Black", "Blond")}
    joint = read_manifests([a, b], attributes=["style", "age", "hair"], one_hot=one_hot)
    assert joint.space.label_sets == (("hair", "age"), ("style",))
    assert joint.space["hair"].values == ("Black", "Blond")
    assert joint.codes.tolist() == [[0, 0, -1], [1, 1, -1], [-1, -1, 0]]


def test_what_overlaps_is_refused_with_the_way_out(write: Write) -> None:
    a = write("a.csv", "path,tone,male\n1.png,dark,1\n")
    b = write("b.csv", "path,style,male\n3.png,3d,0\n")
    message = refused(a, b)
    assert message.startswith(f"{a} and {b}: both have male, but only one of them has tone, style.")
    assert "merge the tables into one manifest" in message
    assert "--attributes" in message
    joint = read_manifests([a, b], attributes=["tone", "style"])
    assert joint.space.label_sets == (("tone",), ("style",))


def test_other_mistakes_are_named_with_their_mend(write: Write) -> None:
    a, b = write("a.csv", TONE), write("b.csv", STYLE)
    assert refused(a, b, a) == f"{a}: this manifest is given twice. Name it once"
    assert "no attribute column 'stile'. Did you mean 'style'?" in refused(a, b, attributes=["tone", "stile"])
    assert refused(a, b, attributes=["style"]).startswith(f"{a}: has none of the requested attributes (style)")
    assert "one_hot 'hair': no attribute column 'black'" in refused(a, b, one_hot={"hair": ("black", "red")})
    number = write("c.csv", "path,tone\n1.png,0\n2.png,1\n")
    assert f"{number}, column 'tone': is binary here and categorical in another" in refused(a, number)
    same = write("d.csv", "path,id,style\n1.png,a,3d\n2.png,a-t,flat\n3.png,t,3d\n")
    assert "column 'id': 'a-t' is also in another manifest" in refused(a, same)


# ---- leaks ----


def test_a_group_of_one_folder_is_one_subject(write: Write) -> None:
    a = write("a.csv", "path,split,group,tone\n1.png,train,ann,dark\n2.png,train,ann,light\n")
    b = write("b.csv", "path,split,group,style\n3.png,test,ann,3d\n4.png,train,bob,flat\n")
    joint = read_manifests([a, b])
    assert split_leaks(joint) == [f"group 'ann' is in train ({a}, rows 2, 3) and test ({b}, row 2)"]
    with pytest.raises(ManifestError, match="Put all rows of a group, and of an image, into one split"):
        refuse_split_leaks(joint)
    far = write("far/b.csv", b.read_text())
    assert split_leaks(read_manifests([a, far])) == []


def test_an_image_of_two_manifests_stays_in_one_split(write: Write) -> None:
    a = write("a.csv", "path,split,tone\nimages/1.png,train,dark\nimages/2.png,test,light\n")
    b = write("images/b.csv", "path,split,style\n1.png,train,3d\n2.png,train,flat\n")
    (leak,) = split_leaks(read_manifests([a, b]))
    assert leak == f"image '{a.parent / 'images/2.png'}' is in train ({b}, row 3) and test ({a}, row 3)"


# ---- one manifest with data sets ----


def test_data_sets_that_know_different_attributes_are_label_sets(write: Write) -> None:
    path = write(
        "m.csv",
        "path,style,dataset,tone,woman\n"
        "1.png,,tones,dark,\n2.png,3d,styles,,1\n3.png,flat,styles,,\n4.png,,more,light,\n5.png,,styles,,\n",
    )
    manifest = read_manifest(path)
    assert manifest.space.label_sets == (("tone",), ("style", "woman"))
    assert manifest.codes.tolist() == [[0, -1, -1], [-1, 0, 1], [-1, 1, -1], [1, -1, -1], [-1, -1, -1]]
    assert manifest.label_set_of_rows().tolist() == [0, 1, 1, 0, -1]
    assert manifest.notes[-1] == f"{path}, column 'dataset': 2 label sets: tone | style, woman"
    assert "file" not in manifest.rows


def test_data_sets_that_share_labels_need_no_mask(write: Write) -> None:
    alike = read_manifest(write("a.csv", "path,dataset,tone\n1.png,x,dark\n2.png,y,light\n"))
    assert (alike.space.label_sets, alike.notes) == ((), ())
    partly = read_manifest(
        write("b.csv", "path,dataset,tone,style\n1.png,x,dark,\n2.png,y,light,3d\n3.png,y,,flat\n")
    )
    assert partly.space.label_sets == ()
    assert partly.codes.tolist() == [[0, -1], [1, 0], [-1, 1]]
    assert partly.notes == ()
    crossing = read_manifest(write("c.csv", "path,dataset,a,b,c\n1.png,x,1,0,\n2.png,y,,1,0\n3.png,x,0,,\n"))
    assert crossing.space.label_sets == ()
    assert "'x' and 'y' both label b, so there is one label set" in crossing.notes[-1]


def test_a_model_s_label_sets_read_any_table(write: Write) -> None:
    space = read_manifests([write("tone.csv", TONE), write("style.csv", STYLE)]).space
    tones = read_manifest(write("t.csv", "path,tone\n1.png,light\n"), space=space)
    both = read_manifest(write("b.csv", "path,woman,tone\n1.png,1,dark\n2.png,0,\n3.png,,\n"), space=space)
    assert tones.space == both.space == space
    assert tones.codes.tolist() == [[1, -1, -1]]
    assert both.codes.tolist() == [[0, -1, 1], [-1, -1, 0], [-1, -1, -1]]
    assert both.label_set_of_rows().tolist() == [0, 1, -1]


@pytest.mark.skipif("AUGMENTOR_REAL_DATA" not in os.environ, reason="AUGMENTOR_REAL_DATA is not set")
def test_real_joint_manifests() -> None:
    emoji = Path(os.environ["AUGMENTOR_REAL_DATA"]) / "emoji"
    joint = read_manifests([emoji / "joint_tone.csv", emoji / "joint_style_woman.csv"])
    assert joint.space.label_sets == (("tone",), ("style", "woman"))
    assert len(joint) == 1752 + 1860
    assert split_leaks(joint) == []
    assert joint.image_path(len(joint) - 1).is_file()
