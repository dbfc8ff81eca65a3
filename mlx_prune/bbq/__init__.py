"""What is asked, and what was answered? BBQ's questions, their prompts, and the rules that read a letter."""
