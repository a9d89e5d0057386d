"""A reranker trained on what the live first stage returns.

questions.py  what is asked: the queries of rows, a data set's train split; and the lists that are made of them
dev.py        how well a model in training reranks the dev questions, by the knowledge base's own retrieval
loss.py       sentence-transformers' losses over lists
model.py      the training, by sentence-transformers' CrossEncoderTrainer
training.py   ``train_reranker``: from lists to a model's folder
trained.py    what training did, and the files that say so
"""

from openbook.finetune.reranker.questions import Taught, as_rows, of_dataset, of_rows, taught
from openbook.finetune.reranker.trained import Trained
from openbook.finetune.reranker.training import train_reranker, train_seeds
from openbook.finetune.running import PARITY

__all__ = ["PARITY", "Taught", "Trained", "as_rows", "of_dataset", "of_rows", "taught", "train_reranker", "train_seeds"]
