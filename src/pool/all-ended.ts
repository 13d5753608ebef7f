/** Like Promise.all, but it rejects only when all have settled, so that none of them has effects later. */
export async function allEnded(promises: readonly Promise<void>[]): Promise<void> {
  for (const ended of await Promise.allSettled(promises)) if (ended.status === 'rejected') throw ended.reason
}
