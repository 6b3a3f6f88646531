DROP INDEX usage_endpoint;
