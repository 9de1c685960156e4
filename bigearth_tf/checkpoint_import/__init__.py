"""Import of the benchmark's trained checkpoints as models of the zoo.

`files` finds a checkpoint, `weights` reads its layers and loads them, `architecture` recognizes the model, `importing`
writes it as a finished run.
"""
