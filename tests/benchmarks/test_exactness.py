from benchmarks import exactness, suite


def test_one_hot_designs_whose_answer_differs_are_counted(monkeypatch):
    assert suite.one_hot_designs(2).value == 0
    monkeypatch.setattr(exactness, "TOLERANCE", -1.0)
    assert suite.one_hot_designs(2).ratio == 1
