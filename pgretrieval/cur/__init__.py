"""CUR factorisations of a cross-encoder's scores (ANNCUR): pure maths on matrices of queries and items."""
