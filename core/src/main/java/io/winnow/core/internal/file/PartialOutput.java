package io.winnow.core.internal.file;

import io.winnow.core.InvalidInputException;
import java.io.IOException;
import java.nio.channels.FileChannel;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.FileVisitResult;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.nio.file.SimpleFileVisitor;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.BasicFileAttributes;
import java.util.UUID;
import org.jspecify.annotations.Nullable;

/**
 * A file or folder on its way to its final name: a hidden sibling of the target, on the same disk,
 * that is renamed when it is complete and deleted when it is not. Public for Winnow's own modules.
 */
public final class PartialOutput implements AutoCloseable {
  private final Path target;
  private final Path parent;
  private final Path partial;
  private final boolean kept;
  private boolean complete;

  private PartialOutput(Path target, @Nullable Path draft) {
    // A name such as "folder/." exists for no rename.
    this.target = target.normalize();
    this.parent = checkedParent(this.target);
    Path name = this.target.getFileName();
    partial = draft == null ? parent.resolve("." + name + ".partial-" + UUID.randomUUID()) : draft;
    kept = draft != null;
  }

  /** For a folder that is there already, on the target's disk, and stays where it fails. */
  public static PartialOutput ofDraft(Path target, Path draft) {
    return new PartialOutput(target, draft);
  }

  /** For a file, which the caller creates. */
  public static PartialOutput forFile(Path target) {
    return new PartialOutput(target, null);
  }

  /**
   * For a folder, which is created.
   *
   * @throws InvalidInputException if the target exists, or its parent cannot be written to
   */
  public static PartialOutput forFolder(Path target) {
    PartialOutput output = new PartialOutput(target, null);
    try {
      // Not createTempDirectory: its folder is private to the owner, and would stay so.
      Files.createDirectory(output.partial);
    } catch (IOException e) {
      throw new InvalidInputException(
          "Cannot write to "
              + output.parent
              + " ("
              + e
              + "); change its permissions or choose another target (--out)",
          e);
    }
    return output;
  }

  /** The checks that need no disk space; the target's parent, as an absolute path. */
  public static Path checkedParent(Path target) {
    if (Files.exists(target, LinkOption.NOFOLLOW_LINKS)) {
      throw exists(target);
    }
    Path parent = target.toAbsolutePath().normalize().getParent();
    if (parent == null || !Files.isDirectory(parent)) {
      throw new InvalidInputException(
          "The folder "
              + parent
              + " for the target "
              + target
              + " does not exist; create it, or choose another target (--out)");
    }
    if (!Files.isWritable(parent)) {
      throw new InvalidInputException(
          "Cannot write to "
              + parent
              + "; change its permissions or choose another target (--out)");
    }
    return parent;
  }

  /** Where to write. */
  public Path path() {
    return partial;
  }

  /** Gives the output its final name. */
  public void complete() {
    try {
      if (Files.isDirectory(partial)) {
        force(partial);
      }
      // Without ATOMIC_MOVE, which would replace a target that came into being meanwhile. The
      // parent is the same, so that this is one rename all the same.
      Files.move(partial, target);
      complete = true;
      force(parent);
    } catch (FileAlreadyExistsException e) {
      throw exists(target);
    } catch (IOException e) {
      throw FileErrors.translate("create", target, e);
    }
  }

  /** Forces a folder's entries to disk, where the system can. */
  public static void force(Path folder) {
    try (FileChannel channel = FileChannel.open(folder, StandardOpenOption.READ)) {
      channel.force(true);
    } catch (IOException e) {
      // Windows does not open folders; the rename has happened anyway.
    }
  }

  private static InvalidInputException exists(Path target) {
    return new InvalidInputException(
        target + " exists already; choose another target (--out), or remove it");
  }

  /** Deletes what is not complete. */
  @Override
  public void close() {
    if (complete || kept || !Files.exists(partial, LinkOption.NOFOLLOW_LINKS)) {
      return;
    }
    try {
      delete(partial);
    } catch (IOException e) {
      throw FileErrors.translate("delete", partial, e);
    }
  }

  /** Deletes a file, or a folder with everything in it. */
  public static void delete(Path fileOrFolder) throws IOException {
    Files.walkFileTree(
        fileOrFolder,
        new SimpleFileVisitor<>() {
          @Override
          public FileVisitResult visitFile(Path file, BasicFileAttributes attributes)
              throws IOException {
            Files.delete(file);
            return FileVisitResult.CONTINUE;
          }

          @Override
          public FileVisitResult postVisitDirectory(Path folder, @Nullable IOException failure)
              throws IOException {
            Files.delete(folder);
            return FileVisitResult.CONTINUE;
          }
        });
  }
}
