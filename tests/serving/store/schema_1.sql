PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE about (
	schema_version INTEGER NOT NULL
);
INSERT INTO about VALUES(1);
CREATE TABLE deployments (
	id VARCHAR(320) NOT NULL,
	revision INTEGER NOT NULL,
	status VARCHAR(16) NOT NULL,
	document TEXT NOT NULL,
	next_number INTEGER NOT NULL,
	created FLOAT NOT NULL,
	PRIMARY KEY (id)
);
INSERT INTO deployments VALUES('facebook/opt-1.3b:vllm',1,'active','{"model": "facebook/opt-1.3b", "backend": "vllm", "source": "", "num_gpus": 1, "endpoints": [], "startup_timeout": 600.0, "drain_timeout": 30.0, "hold_limit": 1024, "hold_timeout": 300.0, "env": {}, "secret_env": {}, "auto_scaling_config": {"metric": "concurrency", "target": 16, "min_instances": 2, "max_instances": 4, "keep_alive": 300}, "backend_config": {"max_model_len": 2048, "extra_args": ["--enforce-eager"], "\u00e9": [null, 1.5]}}',3,1764000000.25);
INSERT INTO deployments VALUES('with-secrets:llamacpp',1,'active','{"model": "with-secrets", "backend": "llamacpp", "source": "/models/tiny.gguf", "num_gpus": null, "endpoints": [], "startup_timeout": 600.0, "drain_timeout": 30.0, "hold_limit": 1024, "hold_timeout": 300.0, "env": {"HF_TOKEN": "hf_not_a_real_token", "LEVEL": "DEBUG"}, "secret_env": {"OTHER": "env:OTHER"}, "auto_scaling_config": {"metric": "concurrency", "target": 8, "min_instances": 0, "max_instances": 1, "keep_alive": -1.0}, "backend_config": {}}',1,1764000001.5);
INSERT INTO deployments VALUES('elsewhere:external',1,'active','{"model": "elsewhere", "backend": "external", "source": "", "num_gpus": null, "endpoints": ["http://127.0.0.1:9001", "http://127.0.0.1:9002"], "startup_timeout": 600.0, "drain_timeout": 30.0, "hold_limit": 1024, "hold_timeout": 300.0, "env": {}, "secret_env": {}, "auto_scaling_config": {"metric": "concurrency", "target": 8, "min_instances": 0, "max_instances": 1, "keep_alive": -1.0}, "backend_config": {}}',0,1764000002.0);
INSERT INTO deployments VALUES('leaving:llamacpp',1,'deleting','{"model": "leaving", "backend": "llamacpp", "source": "demo:smollm2-135m", "num_gpus": null, "endpoints": [], "startup_timeout": 600.0, "drain_timeout": 30.0, "hold_limit": 1024, "hold_timeout": 300.0, "env": {}, "secret_env": {}, "auto_scaling_config": {"metric": "concurrency", "target": 8, "min_instances": 0, "max_instances": 1, "keep_alive": -1.0}, "backend_config": {}}',7,1764000003.0);
INSERT INTO deployments VALUES('gone:llamacpp',4,'deleted','{"model": "gone", "backend": "llamacpp", "source": "", "num_gpus": null, "endpoints": [], "startup_timeout": 600.0, "drain_timeout": 30.0, "hold_limit": 1024, "hold_timeout": 300.0, "env": {}, "secret_env": {}, "auto_scaling_config": {"metric": "concurrency", "target": 8, "min_instances": 0, "max_instances": 1, "keep_alive": -1.0}, "backend_config": {}}',4,1764000007.0);
INSERT INTO deployments VALUES('back:sglang',3,'active','{"model": "back", "backend": "sglang", "source": "", "num_gpus": 2, "endpoints": [], "startup_timeout": 600.0, "drain_timeout": 30.0, "hold_limit": 1024, "hold_timeout": 300.0, "env": {}, "secret_env": {}, "auto_scaling_config": {"metric": "concurrency", "target": 8, "min_instances": 0, "max_instances": 1, "keep_alive": -1.0}, "backend_config": {}}',6,1764000012.0);
CREATE TABLE nodes (
	id VARCHAR(128) NOT NULL,
	role VARCHAR(32) NOT NULL,
	last_seen FLOAT NOT NULL,
	PRIMARY KEY (id)
);
INSERT INTO nodes VALUES('worker-1f0e','worker',1764000020.0);
INSERT INTO nodes VALUES('gateway-77aa','gateway',1764000022.0);
CREATE TABLE credentials (
	node VARCHAR(255) NOT NULL,
	hash VARCHAR(64) NOT NULL,
	issued FLOAT NOT NULL,
	PRIMARY KEY (node)
);
INSERT INTO credentials VALUES('worker-1f0e','0101010101010101010101010101010101010101010101010101010101010101',1764000023.0);
INSERT INTO credentials VALUES('worker-2a3b','0202020202020202020202020202020202020202020202020202020202020202',1764000023.0);
INSERT INTO credentials VALUES('gateway-77aa','0303030303030303030303030303030303030303030303030303030303030303',1764000023.0);
COMMIT;
