"""Measurements of this library beside its peers. `README.md` in this folder describes them."""
