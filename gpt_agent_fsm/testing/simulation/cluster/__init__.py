"""Simulates many processes on one store: the real code of the cluster over tables in memory, in virtual time."""

from gpt_agent_fsm.testing.simulation.cluster.cluster import ClusterProcesses, ClusterStore
from gpt_agent_fsm.testing.simulation.cluster.node import NestingScheduler, NodeFaults
from gpt_agent_fsm.testing.simulation.cluster.tables import MemoryTables

__all__ = ["ClusterProcesses", "ClusterStore", "MemoryTables", "NestingScheduler", "NodeFaults"]
