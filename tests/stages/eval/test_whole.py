"""What items belong together, so that an interval does not take one document's parts for as many witnesses."""

from llmkit.data.chat import Example
from llmkit.stages.measuring_data import whole_of
from llmkit.text.document import Document


def test_rows_of_a_table_stand_for_themselves_and_parts_of_a_document_for_it() -> None:
    rows = [Example("/data/test.jsonl", str(number), ()) for number in (1, 2, 3)]
    functions = [Example("/lib/json/decoder.py", name, ()) for name in ("JSONDecoder.decode", "scanstring")]
    assert len({whole_of(row) for row in rows}) == 3
    assert {whole_of(function) for function in functions} == {"/lib/json/decoder.py"}
    assert whole_of(Document("/data/a.txt", "text")) == "/data/a.txt"
