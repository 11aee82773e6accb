package io.winnow.core.internal.checkpoint;

import com.google.common.collect.ImmutableList;
import com.google.common.collect.ImmutableMap;
import com.google.common.collect.Iterables;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import io.winnow.core.InvalidInputException;
import io.winnow.core.internal.file.FileErrors;
import io.winnow.core.internal.file.Json;
import io.winnow.core.internal.safetensors.SafetensorsFile;
import io.winnow.core.internal.safetensors.TensorInfo;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.InvalidPathException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.stream.Stream;

/**
 * The files of a checkpoint folder that hold its weights.
 *
 * @param files in the order of their names
 * @param tensors by name, file by file, by offset within a file
 * @param warnings what an index says that its files do not
 */
record WeightFiles(
    ImmutableList<Path> files, ImmutableMap<String, TensorInfo> tensors, List<String> warnings) {
  static final String SINGLE = "model.safetensors";
  static final String INDEX = "model.safetensors.index.json";

  private static final ImmutableList<String> SAFETENSORS =
      ImmutableList.of(".safetensors", ".safetensors.index.json");
  private static final ImmutableList<String> OTHERS =
      ImmutableList.of(
          ".bin", ".bin.index.json", ".gguf", ".pt", ".pth", ".h5", ".msgpack", ".onnx");

  /** Whether a file of this name holds weights, an index of them or an adapter to them. */
  static boolean holdsWeights(String fileName) {
    return Adapters.isConfig(fileName)
        || endsWithAny(fileName, SAFETENSORS)
        || endsWithAny(fileName, OTHERS);
  }

  private static boolean endsWithAny(String fileName, List<String> endings) {
    String lowerCase = fileName.toLowerCase(Locale.ROOT);
    return endings.stream().anyMatch(lowerCase::endsWith);
  }

  static WeightFiles find(Path folder) {
    Path single = folder.resolve(SINGLE);
    if (Files.isRegularFile(single)) {
      List<String> warnings =
          Files.isRegularFile(folder.resolve(INDEX))
              ? List.of(
                  folder
                      + " has both "
                      + SINGLE
                      + " and "
                      + INDEX
                      + ": the index is not read, as in Transformers. Remove the one that does not"
                      + " belong to the model")
              : List.of();
      SafetensorsFile file = SafetensorsFile.open(single);
      requireTensors(single, file.tensors());
      return new WeightFiles(
          ImmutableList.of(single), ImmutableMap.copyOf(file.tensors()), warnings);
    }
    Path index = folder.resolve(INDEX);
    if (Files.isRegularFile(index)) {
      return readIndexed(folder, index);
    }
    FileErrors.requireNoDanglingLink(single);
    FileErrors.requireNoDanglingLink(index);
    throw noWeights(folder);
  }

  private static WeightFiles readIndexed(Path folder, Path index) {
    Map<String, Set<String>> namesByFile = readIndex(index);
    List<String> missing =
        namesByFile.keySet().stream()
            .filter(name -> !Files.isRegularFile(folder.resolve(name)))
            .toList();
    if (!missing.isEmpty()) {
      throw new InvalidInputException(
          index
              + " names "
              + namesByFile.size()
              + " files, of which "
              + missing.size()
              + " are missing: "
              + shortened(missing)
              + ". Download them.");
    }
    Map<Path, Map<String, TensorInfo>> available = new LinkedHashMap<>();
    namesByFile
        .keySet()
        .forEach(
            name ->
                available.put(
                    folder.resolve(name), SafetensorsFile.open(folder.resolve(name)).tensors()));
    return merge(index, namesByFile, available);
  }

  /** Takes every tensor of the files, of those that several hold the one that the index names. */
  private static WeightFiles merge(
      Path index,
      Map<String, Set<String>> namesByFile,
      Map<Path, Map<String, TensorInfo>> available) {
    Map<String, Path> fileByName = new HashMap<>();
    Set<String> unnamed = new TreeSet<>();
    List<String> absent = new ArrayList<>();
    Set<String> named = new HashSet<>();
    namesByFile.values().forEach(named::addAll);
    available.forEach(
        (file, tensors) -> {
          Set<String> here = namesByFile.getOrDefault(String.valueOf(file.getFileName()), Set.of());
          for (String name : tensors.keySet()) {
            if (here.contains(name)) {
              fileByName.put(name, file);
            } else if (!named.contains(name)) {
              unnamed.add(name);
              fileByName.put(name, file); // The last one, as in Transformers.
            }
          }
        });
    named.stream().filter(name -> !fileByName.containsKey(name)).sorted().forEach(absent::add);
    List<String> warnings = new ArrayList<>();
    warn(warnings, index, "names tensors that its files do not hold: ", absent);
    warn(
        warnings,
        index,
        "does not name tensors of its files, which are read all the same: ",
        unnamed);
    ImmutableMap.Builder<String, TensorInfo> tensors = ImmutableMap.builder();
    available.forEach(
        (file, all) ->
            all.forEach(
                (name, info) -> {
                  if (file.equals(fileByName.get(name))) {
                    tensors.put(name, info);
                  }
                }));
    return new WeightFiles(
        ImmutableList.copyOf(available.keySet()), tensors.buildOrThrow(), warnings);
  }

  private static void warn(
      List<String> warnings, Path index, String what, Collection<String> names) {
    if (!names.isEmpty()) {
      warnings.add(
          index
              + " "
              + what
              + shortened(names)
              + ". If its author has it otherwise, download it again");
    }
  }

  /** The names of the tensors by the name of their file, in the order of the file names. */
  private static Map<String, Set<String>> readIndex(Path index) {
    JsonObject content = Json.readObject(index);
    JsonElement map = content.get("weight_map");
    if (map == null || !map.isJsonObject()) {
      throw new InvalidInputException(
          index
              + " has no object 'weight_map' that names the file of each tensor. Download it"
              + " again.");
    }
    Map<String, Set<String>> result = new TreeMap<>();
    map.getAsJsonObject()
        .asMap()
        .forEach(
            (name, file) -> {
              if (!file.isJsonPrimitive() || !file.getAsJsonPrimitive().isString()) {
                throw new InvalidInputException(
                    index
                        + " gives "
                        + Json.excerpt(file)
                        + " as the file of the tensor '"
                        + name
                        + "', expected a text. Download it again.");
              }
              String fileName = file.getAsString();
              requirePlainName(index, name, fileName);
              result.computeIfAbsent(fileName, key -> new HashSet<>()).add(name);
            });
    requireTensors(index, result);
    return result;
  }

  /** Whether this names a file in the same folder, and cannot lead elsewhere. */
  static boolean isPlainName(String fileName) {
    try {
      return !fileName.isEmpty()
          && !fileName.equals(".")
          && !fileName.equals("..")
          && !fileName.contains("/")
          && !fileName.contains("\\")
          && !Path.of(fileName).isAbsolute();
    } catch (InvalidPathException e) {
      return false;
    }
  }

  /** An index may come from anywhere: it must not lead to files elsewhere. */
  private static void requirePlainName(Path index, String tensor, String fileName) {
    if (!isPlainName(fileName)) {
      throw new InvalidInputException(
          index
              + " gives '"
              + fileName
              + "' as the file of the tensor '"
              + tensor
              + "'; only names of files in the same folder are followed. Download the index again"
              + " from a source that you trust.");
    }
  }

  private static void requireTensors(Path file, Map<String, ?> tensors) {
    if (tensors.isEmpty()) {
      throw new InvalidInputException(file + " names no tensor. Download it again.");
    }
  }

  private static InvalidInputException noWeights(Path folder) {
    List<String> shards = new ArrayList<>();
    List<String> others = new ArrayList<>();
    try (Stream<Path> entries = Files.list(folder)) {
      entries
          .map(entry -> String.valueOf(entry.getFileName()))
          .sorted()
          .forEach(
              name -> {
                if (endsWithAny(name, SAFETENSORS)) {
                  shards.add(name);
                } else if (endsWithAny(name, OTHERS)) {
                  others.add(name);
                }
              });
    } catch (IOException e) {
      throw FileErrors.translate("read", folder, e);
    }
    String start = folder + " has neither " + SINGLE + " nor " + INDEX;
    if (!shards.isEmpty()) {
      return new InvalidInputException(
          start
              + ", only "
              + shortened(shards)
              + ". Download the index, which names the file of each tensor; rename a single file to"
              + " "
              + SINGLE
              + ".");
    }
    if (!others.isEmpty()) {
      return new InvalidInputException(
          start
              + ", but weights in formats that are not read: "
              + shortened(others)
              + ". Use the checkpoint's safetensors files, or convert it with Transformers:"
              + " AutoModelForCausalLM.from_pretrained(FOLDER).save_pretrained(NEW_FOLDER)"
              + " for *.bin; from_pretrained(FOLDER, gguf_file=FILE) reads GGUF.");
    }
    return new InvalidInputException(
        start + ", nor weights in any other format. Download the weights too.");
  }

  private static String shortened(Collection<String> names) {
    return String.join(", ", Iterables.limit(names, 8)) + (names.size() > 8 ? ", …" : "");
  }
}
