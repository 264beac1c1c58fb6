"""The `llm` command with a model of its user's file: streamed and whole, by chat completions."""

import json
import subprocess
import sys
from pathlib import Path

import llm

url, model, question = sys.argv[1:]
entry = {"model_id": "mine", "model_name": model, "api_base": url, "api_key_name": "mine"}
(llm.user_dir() / "extra-openai-models.yaml").write_text(json.dumps([entry]))
command = [str(Path(sys.executable).with_name("llm")), "-m", "mine", "--key", "sk-of-no-use", "-n"]
outputs = [subprocess.check_output([*command, *more, question], text=True) for more in ([], ["--no-stream"])]
print(json.dumps([output.removesuffix("\n") for output in outputs]))
