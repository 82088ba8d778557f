"""The queue: which job is the next, on which lane, and what becomes of one that ended.

    states        what a job can be, and which way leads from where to where
    ticket        its place in the queue, in its folder: the truth that the database only indexes
    tables        the tables           database     SQLite or Postgres behind the same calls
    migrations    versions of the tables, each step after a backup
    records       rows, the one transition, and the journal of events that goes with every change
    lanes         one per device, one for light work
    vacancy       whether a card is really free            cards        what NVIDIA's driver says of them
    observing     how a job really stands, from its folder and the processes of this machine
    retries       what is tried again, and what never
    ladder        asked, signalled, killed: how a worker is brought to its end
    fsck          folders and database held against each other, and made one again
    verbs         Queue: what can be asked of it
    dispatcher    Dispatcher: starts, follows, adopts; one per home

A worker is a process of its own that knows nothing of all this: it reads and writes its job folder. So whoever hosts
the dispatcher may die at any moment; the next one finds every worker again.

Importing this loads no database library; the modules do.
"""
