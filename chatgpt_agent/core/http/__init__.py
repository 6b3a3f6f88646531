"""HTTP bodies and headers: what a request asks for, and what an answer used."""
