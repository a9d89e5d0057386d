"""An embedding model trained on rows, at three depths.

prepared.py   rows as they are trained on, and what forbids it
dev.py        how well a model in training answers the dev questions, by the knowledge base's own retrieval
vectors.py    what an adapter is trained on: vectors that are there already
doubts.py     rows whose labels the base's own vectors doubt
adapter.py    a linear map of queries
model.py      LoRA and full training, by sentence-transformers' trainer
training.py   ``train_embedder``: from rows to a model's folder
trained.py    what training did, and the files that say so
"""

from openbook.finetune.embedder.dev import Dev
from openbook.finetune.embedder.trained import Progress, Step, Trained
from openbook.finetune.embedder.training import train_embedder, train_seeds
from openbook.finetune.running import PARITY, is_first

__all__ = ["PARITY", "Dev", "Progress", "Step", "Trained", "is_first", "train_embedder", "train_seeds"]
