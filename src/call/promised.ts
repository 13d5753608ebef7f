/** What throws rejects: for calls that return a promise and are called too often to be async functions. */
export function promised<R>(call: () => Promise<R>): Promise<R> {
  try {
    return call()
  } catch (error) {
    return Promise.reject(error)
  }
}
