"""The ranks of a run: how they join, exchange data, agree, and detect that one of them hangs."""
