"""Fine-tuning: what a model is trained on, and the models.

data.py       finetune data
embedder.py   finetune embedder
reranker.py   finetune reranker
compare.py    finetune compare
training.py   what the two trainings share: what is told before, and after
documents.py  the documents that are worked on: one's own, or those that a data set brings
"""

from __future__ import annotations

import typer

from openbook.cli.finetuning.compare import compare
from openbook.cli.finetuning.data import data
from openbook.cli.finetuning.embedder import embedder
from openbook.cli.finetuning.reranker import reranker

app = typer.Typer(context_settings={"help_option_names": ["-h", "--help"]})


@app.callback(invoke_without_command=True)
def root(context: typer.Context) -> None:
    """Fine-tune retrieval: make what a model is trained on, and train it."""
    if context.invoked_subcommand is None:
        print(context.get_help())
        raise typer.Exit(2)


app.command("data")(data)
app.command("embedder")(embedder)
app.command("reranker")(reranker)
app.command("compare")(compare)
