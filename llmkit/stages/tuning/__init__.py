"""What `finetune-lora` can teach, one kind of task a module; `table` lists them."""
