DROP INDEX usage_uncertain;
