"""The chat protocol that most model servers speak: asking about a picture, and understanding what comes back.

address    what a user writes as the server's address; whether pictures stay on this machine
server     requests: key, budget, retries, and the models there are
trouble    what servers say when they refuse, as sentences with the next thing to do
reading    the caption in an answer, without the thinking around it
"""
