"""The network that is trained: layers, dropout, initialization."""
