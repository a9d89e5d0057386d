"""Models trained on a user's own judgements.

data/         training data: made, read, written, and looked at before anything is trained
rails.py      what is usually done wrong before training, a line each
embedder/     ``train_embedder``: rows in, a model's folder out: an adapter of queries, LoRA, or all weights
reranker/     ``train_reranker``: lists in, a model's folder out: an adapter and a head, or all weights
settings.py   how something is trained: one TOML file, from which a run can be repeated
lists.py      what a reranker learns from: a question's candidates as the first stage returned them
running.py    a training as a run: its own files, and how it ends
trainer.py    what trainings by sentence-transformers' trainers share
general/      questions about anything: what a model may forget, and pairs to replay
replay.py     against it: general pairs among the rows, and what lies between base and tuned
feedback.py   ``retrain``: the query adapter goes on learning from use
trial.py      folders of models, asked what their base is asked; verdict.py: may one replace it? page.py: as a page
promotion.py  the winner becomes a release, with the verdict as its report

torch is imported where it is first needed: ``pip install 'openbook[train]'``.
"""
