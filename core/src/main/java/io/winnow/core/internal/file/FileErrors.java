package io.winnow.core.internal.file;

import io.winnow.core.InvalidInputException;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.channels.ClosedByInterruptException;
import java.nio.file.AccessDeniedException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.concurrent.CancellationException;

/** Turns the operating system's exceptions into ours. */
public final class FileErrors {
  private FileErrors() {}

  /**
   * The exception to throw when an operation on a file fails: the caller's mistakes become {@link
   * InvalidInputException}, an interrupt {@link CancellationException}.
   */
  public static RuntimeException translate(String operation, Path file, IOException failure) {
    if (failure instanceof ClosedByInterruptException) {
      return cancelled(operation, file);
    }
    if (failure instanceof NoSuchFileException) {
      return new InvalidInputException(
          "Cannot " + operation + " " + file + ": " + failure.getMessage() + " does not exist",
          failure);
    }
    if (failure instanceof AccessDeniedException) {
      return new InvalidInputException(
          "Cannot "
              + operation
              + " "
              + file
              + ": no permission for "
              + failure.getMessage()
              + "; change its permissions or run as its owner",
          failure);
    }
    return new UncheckedIOException(
        new IOException("Cannot " + operation + " " + file + ": " + failure.getMessage(), failure));
  }

  static CancellationException cancelled(String operation, Path file) {
    return new CancellationException("Interrupted: did not " + operation + " " + file);
  }

  /** Leaves the thread's interrupted status as it is, so that its owner sees it too. */
  public static void throwIfInterrupted(String operation, Path file) {
    if (Thread.currentThread().isInterrupted()) {
      throw cancelled(operation, file);
    }
  }

  /** A link to nowhere is what an interrupted download into the hub's cache leaves. */
  public static void requireNoDanglingLink(Path file) {
    if (Files.isSymbolicLink(file) && !Files.exists(file)) {
      throw new InvalidInputException(
          file + " is a link to a file that does not exist; download the file again or remove it");
    }
  }
}
