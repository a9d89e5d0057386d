"""Training data: what a retriever is trained on, wherever it comes from.

rows.py        Example: a query with the passages that answer it and those that do not; Scored: two texts, how alike
formats.py     ``read`` and ``write``: pairs, triplets, n-tuples, scored pairs, BEIR, Tevatron
sources.py     a data set's train split, and what people clicked and said, as queries with their places
documents.py   queries made of the documents themselves
places.py      a query's places in the documents → the chunks that the index holds
negatives.py   hard negatives, mined with the live index
report.py      what is to be known of the rows before anything is trained, and what forbids it
making.py      ``make``: all of it, in order
"""

from openbook.finetune.data.formats import FORMATS, Format, read, write
from openbook.finetune.data.making import Made, make
from openbook.finetune.data.rows import Example, Passage, Rows, Scored

__all__ = ["FORMATS", "Example", "Format", "Made", "Passage", "Rows", "Scored", "make", "read", "write"]
