import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // Native code is loaded once per process, so each file gets a process of its own.
    pool: 'forks',
    maxWorkers: Number(process.env.RC_TEST_WORKERS ?? 2),
    setupFiles: process.env.RDMA_CHECKPOINT_TEST_ADDRESS === undefined ? [] : ['test/soft-roce/units-on-device.ts'],
    testTimeout: process.env.RC_LONG === '1' ? 1_800_000 : Number(process.env.RC_TEST_TIMEOUT_MS ?? 120_000),
    hookTimeout: 120_000,
    teardownTimeout: 30_000,
  },
})
