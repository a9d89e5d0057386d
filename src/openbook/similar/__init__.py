"""Embeddings on their own: what lies near what, without a question.

cluster.py   vectors → groups that the data itself suggests
terms.py     groups of texts → the words that tell one from the others
themes.py    a knowledge base → a tree of its themes, each cited down to its sources
written.py   the same themes, named and summed up by a language model
overall.py   which questions ask for the whole ("What are the main themes?"), and their answer
"""
