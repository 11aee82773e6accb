package io.winnow.core.internal.checkpoint;

import com.google.common.collect.ImmutableList;
import io.winnow.core.internal.file.FileErrors;
import io.winnow.core.internal.safetensors.SourceFiles;
import java.io.IOException;
import java.nio.channels.FileChannel;
import java.nio.file.FileVisitResult;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.SimpleFileVisitor;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.BasicFileAttributes;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Set;
import java.util.function.LongConsumer;
import java.util.function.Predicate;

/**
 * A file that a new checkpoint has from its source as it is.
 *
 * @param name its path inside the folder
 * @param path where it lies in the source
 */
record CarriedFile(String name, Path path, long length) {
  private static final Set<String> SKIPPED_FOLDERS = Set.of(".git", ".cache");

  /**
   * Finds the files of a folder, also in subfolders, that hold no weights.
   *
   * @param replaced says which names the new folder has a file of its own for
   */
  static ImmutableList<CarriedFile> find(Path source, Predicate<String> replaced) {
    List<CarriedFile> files = new ArrayList<>();
    try {
      // The real path, because a link to a folder would be visited as if it were a file.
      Path folder = source.toRealPath();
      Files.walkFileTree(
          folder,
          new SimpleFileVisitor<>() {
            @Override
            public FileVisitResult preVisitDirectory(Path visited, BasicFileAttributes attributes) {
              boolean skipped =
                  !visited.equals(folder)
                      && SKIPPED_FOLDERS.contains(String.valueOf(visited.getFileName()));
              return skipped ? FileVisitResult.SKIP_SUBTREE : FileVisitResult.CONTINUE;
            }

            @Override
            public FileVisitResult visitFile(Path file, BasicFileAttributes attributes)
                throws IOException {
              String name = folder.relativize(file).toString();
              if (!WeightFiles.holdsWeights(name)
                  && !replaced.test(name)
                  && !SKIPPED_FOLDERS.contains(name)
                  && isFile(file)) {
                files.add(new CarriedFile(name, file, Files.size(file)));
              }
              return FileVisitResult.CONTINUE;
            }
          });
    } catch (IOException e) {
      throw FileErrors.translate("read", source, e);
    }
    files.sort(Comparator.comparing(CarriedFile::name));
    return ImmutableList.copyOf(files);
  }

  private static boolean isFile(Path file) {
    FileErrors.requireNoDanglingLink(file);
    return Files.isRegularFile(file);
  }

  /** Copies the file into a folder, and forces it to disk. */
  void copyInto(Path folder, SourceFiles sources, LongConsumer progress) {
    Path copy = folder.resolve(name);
    try {
      Files.createDirectories(copy.getParent());
      try (FileChannel channel =
          FileChannel.open(copy, StandardOpenOption.CREATE_NEW, StandardOpenOption.WRITE)) {
        sources.transfer(path, 0, length, copy, channel, progress);
        channel.force(true);
      }
    } catch (IOException e) {
      throw FileErrors.translate("write", copy, e);
    }
  }
}
