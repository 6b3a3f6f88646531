DROP TABLE limit_use;
