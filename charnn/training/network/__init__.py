"""The torch network: layers, dropout, initialization, compilation."""
