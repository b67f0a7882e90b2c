"""Network parts that several systems share; knows no engine and no viewer."""
