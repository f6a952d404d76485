from project.serving.metrics import BUCKETS, Counters


def samples(text: str) -> dict[str, float]:
    lines = [line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in lines}


def test_what_is_counted_is_shown():
    counters = Counters(processes=2)
    counters.count_prediction(200, rows=3, seconds=0.002)
    counters.count_response("/health", 200)
    counters.bind_worker(1)
    counters.count_prediction(200, rows=4, seconds=0.0025)
    counters.count_prediction(422, rows=0, seconds=99.0)
    counters.count_response("/a/path/nobody/knows", 404)
    counters.count_response("/another", 418)
    found = samples(counters.text())
    assert found['serving_requests_total{path="/predict",status="200"}'] == 2
    assert found['serving_requests_total{path="/predict",status="422"}'] == 1
    assert found['serving_requests_total{path="/health",status="200"}'] == 1
    assert found['serving_requests_total{path="other",status="404"}'] == 1
    assert found['serving_requests_total{path="other",status="other"}'] == 1
    assert found["serving_errors_total"] == 2
    assert found["serving_rows_total"] == 7
    assert found['serving_predict_seconds_bucket{le="0.001"}'] == 0
    assert found['serving_predict_seconds_bucket{le="0.0025"}'] == 2
    assert found['serving_predict_seconds_bucket{le="10.0"}'] == 2
    assert found['serving_predict_seconds_bucket{le="+Inf"}'] == 3
    assert found["serving_predict_seconds_count"] == 3
    assert found["serving_predict_seconds_sum"] == 99.0045


def test_buckets_grow():
    assert list(BUCKETS) == sorted(BUCKETS)


def test_a_server_counts_what_it_answers(house_server):
    def counted() -> dict[str, float]:
        return samples(house_server.client.get("/metrics").text)

    before = counted()
    house_server.predict([[1, 1]] * 5)
    house_server.post(b"{")
    house_server.client.get("/nothing")
    after = counted()
    assert after["serving_rows_total"] - before["serving_rows_total"] == 5
    assert after["serving_errors_total"] - before["serving_errors_total"] == 2
    assert after["serving_predict_seconds_count"] - before["serving_predict_seconds_count"] == 2
    page = 'serving_requests_total{path="/metrics",status="200"}'
    assert after[page] - before.get(page, 0) == 1
