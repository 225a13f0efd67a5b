"""Credentials by reference: no secret is stored. Run: ``python -m samples.credentials``.

The document says how to reach a database and under which name a secret manager knows the password.
The activity that connects asks for the password, and nobody else ever sees it.
"""

import asyncio
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.worker import Worker

from temporal_state import SecretRefusedError, StateBackend, StatePlugin, state
from temporal_state.testing import dev_server

STORE = "./local/tmp"
VAULT = {"orders-db-password": "correct horse battery staple"}
"""Stands for a secret manager."""


async def read_secret(reference: str) -> str:
    """Return the secret that a reference names; here you would call your secret manager."""
    return VAULT[reference]


@activity.defn
async def count_orders(credential: str) -> str:
    """Connect with the password, which stays in this function."""
    database = await state.credentials.resolve(credential, secrets=read_secret)
    password = database["password_ref"]  # the field keeps its name, and now holds the secret
    return f"connected to {database['host']} with a password of {len(password)} characters"


@workflow.defn
class CountOrders:
    """Passes on the credential's id, not the credential: arguments are kept in the history."""

    @workflow.run
    async def run(self, credential: str) -> str:
        """Return what the activity says."""
        return await workflow.execute_activity(
            count_orders, credential, start_to_close_timeout=timedelta(seconds=30)
        )


async def main() -> None:
    """Store a credential by reference, see a raw one refused, and use the first."""
    async with (
        StateBackend.open(STORE, app="credentials") as backend,
        await dev_server() as server,
        Worker(
            server.client,
            task_queue="credentials",
            workflows=[CountOrders],
            activities=[count_orders],
            plugins=[StatePlugin(backend)],
        ),
    ):
        access = {"credential_type": "database", "host": "db.example.com", "username": "reader"}
        await backend.credentials.save("orders", {**access, "password_ref": "orders-db-password"})
        try:
            await backend.credentials.save("orders", {**access, "password": "hunter2"})
        except SecretRefusedError as error:
            print("refused:", error)
        print(
            await server.client.execute_workflow(
                CountOrders.run, "orders", id="count-orders", task_queue="credentials"
            )
        )


if __name__ == "__main__":
    asyncio.run(main())
