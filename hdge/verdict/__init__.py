"""The paper's claims, and the rule that judges them."""
