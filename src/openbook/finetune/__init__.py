"""Models trained on a user's own judgements.

data/         training data: made, read, written, and looked at before anything is trained
lists.py      what a reranker learns from: a question's candidates as the first stage returned them
lora.py       small matrices beside a model's own, and the files that peft writes of them
reranker.py   ``train_reranker``: lists in, an adapter's folder out

torch is imported where it is first needed: ``pip install 'openbook[train]'``.
"""
