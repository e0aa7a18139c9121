"""The plan of the package: reading it, and its limits."""

import architecture
import pytest

SOURCE = {
    "__init__.py": "from shop.till import pay",
    "__main__.py": "from shop.till import pay",
    "till.py": "import shop.money.coins\nif TYPE_CHECKING:\n    from shop.stock import count",
    "stock/__init__.py": "from . import shelf\nfrom shop import till",
    "stock/shelf.py": "def weigh():\n    from ..money import coins\n    from shop import __version__",
    "stock/boxes.py": "from shop.stock.shelf import *\nimport json",
    "money/__init__.py": "COIN = 1",
    "money/coins.py": "from shop.money import COIN",
    "lamp.py": "",
}


@pytest.fixture
def shop(tmp_path):
    for name, text in SOURCE.items():
        path = tmp_path / "shop" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return architecture.module_graph(tmp_path / "shop")


# --- reading and measuring ---------------------------------------------------------------------------------


def test_imports_of_every_kind_are_read(shop):
    assert shop == {
        "shop": {"shop.till"},
        "shop.__main__": {"shop.till"},
        "shop.till": {"shop.stock", "shop.money.coins"},
        "shop.stock": {"shop.stock.shelf", "shop.till"},
        "shop.stock.shelf": {"shop.money.coins", "shop"},
        "shop.stock.boxes": {"shop.stock.shelf"},
        "shop.money": set(),
        "shop.money.coins": {"shop.money"},
        "shop.lamp": set(),
    }


def test_rooms_leave_out_the_face_of_the_package(shop):
    assert architecture.room_graph(shop) == {
        "lamp": set(),
        "money": set(),
        "stock": {"money", "till"},
        "till": {"money", "stock"},
    }


def test_rings_are_found_among_modules_and_among_rooms(shop):
    assert architecture.rings(shop) == [("shop", "shop.stock", "shop.stock.shelf", "shop.till")]
    assert architecture.rings(architecture.room_graph(shop)) == [("stock", "till")]


def test_a_ring_is_one_floor(shop):
    assert architecture.floors(architecture.room_graph(shop)) == {"lamp": 1, "money": 1, "stock": 2, "till": 2}


def test_a_room_stands_one_floor_above_the_highest_that_it_imports():
    rooms = {"attic": {"hall", "cellar"}, "hall": {"stairs"}, "stairs": {"cellar"}, "cellar": set()}
    assert architecture.floors(rooms) == {"attic": 4, "hall": 3, "stairs": 2, "cellar": 1}


# --- drawing -----------------------------------------------------------------------------------------------


def arrows_of(rooms):
    lines = architecture.flowchart(rooms).splitlines()
    return {tuple(line.strip().split(" --> ")) for line in lines if "-->" in line}


def test_the_flowchart_omits_an_arrow_if_a_longer_way_implies_it():
    assert arrows_of({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == {("a", "b"), ("b", "c")}


def test_the_flowchart_keeps_the_arrows_of_a_ring(shop):
    ring = {("stock", "till"), ("till", "stock")}
    assert arrows_of(architecture.room_graph(shop)) == ring | {("stock", "money"), ("till", "money")}


def test_the_flowchart_shows_a_room_without_arrows(shop):
    assert "    lamp" in architecture.flowchart(architecture.room_graph(shop)).splitlines()


def test_every_arrow_of_the_package_can_be_followed_in_its_flowchart():
    rooms = architecture.room_graph(architecture.module_graph())
    drawn = {room: {end for start, end in arrows_of(rooms) if start == room} for room in rooms}
    for room, needed in rooms.items():
        reached, waiting = set(), [room]
        while waiting:
            for name in drawn[waiting.pop()] - reached:
                reached.add(name)
                waiting.append(name)
        assert needed <= reached, room


# --- the package -------------------------------------------------------------------------------------------


def test_the_plan_stays_within_its_limits():
    rooms = architecture.room_graph(architecture.module_graph())
    assert sum(map(len, rooms.values())) <= architecture.MAX_ARROWS, architecture.figures(rooms)
    assert max(architecture.floors(rooms).values()) <= architecture.MAX_FLOORS, architecture.figures(rooms)


def test_the_script_prints_the_plan(capsys):
    architecture.main()
    size, *lines = capsys.readouterr().out.splitlines()
    rooms = architecture.room_graph(architecture.module_graph())
    assert size == architecture.figures(rooms)
    assert {line.split(":")[0].split()[1] for line in lines[: len(rooms)]} == set(rooms)


def test_no_modules_import_each_other_in_a_ring():
    assert architecture.rings(architecture.module_graph()) == []


def test_no_rooms_import_each_other_in_a_ring():
    assert architecture.rings(architecture.room_graph(architecture.module_graph())) == []
