/** Where units of the tests have their data plane: user-space iWARP on loopback, or the RDMA device that was named. */
export const dataTransport = process.env.RDMA_CHECKPOINT_TEST_ADDRESS === undefined ? 'iwarp' : 'verbs'
export const dataHost = process.env.RDMA_CHECKPOINT_TEST_ADDRESS ?? '127.0.0.1'
