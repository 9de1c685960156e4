"""How does a checkpoint that the published benchmark wrote become a model of the zoo?

`files` finds it, `weights` reads and matches it, `architecture` says what it is, `importing` writes it in our form.
"""
