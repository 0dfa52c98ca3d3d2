"""How a flow run is carried out under Prefect 1."""
