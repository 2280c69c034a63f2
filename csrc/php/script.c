/*
 * Scripts. Each call is a request of its own, as everywhere in PHP: the script runs from its top, and then what it exports
 * is called: an entry of the array that it returns, the callable that it returns ("default"), a method of the object that
 * it returns, or a function that it has declared.
 *
 * A script that is a file runs from that file, through opcache; one that was loaded as a text is compiled at each call.
 */
#include "script.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "errors.h"
#include "host.h"
#include "page.h"
#include "values.h"
#include "php_main.h"
#include "zend_closures.h"
#include "zend_smart_str.h"

/* ---- running ---- */

/* Runs what was compiled, and frees it. [fiber; may suspend; may raise] */
static void execute(zend_op_array *code, zval *result) {
  if (code == NULL) return; /* an exception says why */
  zend_execute_data *base = EG(current_execute_data);
  EG(current_execute_data) = NULL; /* outermost code has the global variables */
  zend_execute(code, result);
  EG(current_execute_data) = base;
  zend_destroy_static_vars(code);
  destroy_op_array(code);
  efree_size(code, sizeof(*code));
}

/* [fiber; may suspend; may raise] */
static void run_text(zend_string *text, const char *name, zend_compile_position at, zval *result) {
  execute(zend_compile_string(text, name, at), result);
}

/* [fiber; may suspend; may raise] */
static void run_file(const char *path, zval *result) {
  zend_file_handle file;
  zend_stream_init_filename(&file, path);
  file.primary_script = 1;
  VCWD_CHDIR_FILE(path);
  zend_op_array *code = zend_compile_file(&file, ZEND_REQUIRE);
  if (file.opened_path != NULL) zend_hash_add_empty_element(&EG(included_files), file.opened_path);
  zend_destroy_file_handle(&file);
  execute(code, result);
}

/* "folder/name", to be freed. [fiber; no; may raise: memory] */
static char *path_of(const char *folder, size_t folder_len, const char *name, size_t name_len) {
  smart_str path = {0};
  smart_str_appendl(&path, folder, folder_len);
  if (folder_len > 0) smart_str_appendc(&path, '/');
  smart_str_appendl(&path, name, name_len);
  smart_str_0(&path);
  char *text = estrndup(ZSTR_VAL(path.s), ZSTR_LEN(path.s));
  smart_str_free(&path);
  return text;
}

/* ---- loading ---- */

/* [fiber; no; no] */
static ssphp_script *script_of(ssphp *home, uint32_t number) {
  return number < home->nscripts && home->scripts[number].name != NULL ? &home->scripts[number] : NULL;
}

/* [fiber; no; no] */
static char *keep(const char *text, size_t len) {
  char *kept = malloc(len + 1);
  if (kept == NULL) return NULL;
  memcpy(kept, text, len);
  kept[len] = '\0';
  return kept;
}

/* [interpreter thread; no; no] */
static void forget(ssphp_script *script) {
  free(script->name);
  free(script->folder);
  free(script->source);
  memset(script, 0, sizeof(*script));
}

/* [interpreter thread; no; no] */
void ssphp_scripts_free(ssphp *home) {
  for (uint32_t i = 0; i < home->nscripts; i++) forget(&home->scripts[i]);
  free(home->scripts);
}

/* [fiber; may suspend; may raise] */
void ssphp_script_load(ssphp_run *run) {
  char *path = path_of(run->folder, run->folder_len, run->name, run->name_len);
  zend_string *text = zend_string_init(run->source, run->source_len, 0);
  zend_op_array *code = zend_compile_string(text, path, ZEND_COMPILE_POSITION_AT_SHEBANG);
  zend_string_release(text);
  efree(path);
  if (code == NULL) return;
  destroy_op_array(code);
  efree_size(code, sizeof(*code));
  ssphp *home = run->home;
  if (run->script >= home->nscripts) {
    ssphp_script *grown = realloc(home->scripts, ((size_t)run->script + 1) * sizeof(*grown));
    if (grown == NULL) {
      ssphp_throw("memory", "not enough memory");
      return;
    }
    memset(grown + home->nscripts, 0, (run->script + 1 - home->nscripts) * sizeof(*grown));
    home->scripts = grown;
    home->nscripts = run->script + 1;
  }
  ssphp_script *script = &home->scripts[run->script];
  forget(script);
  script->name = keep(run->name, run->name_len);
  script->folder = keep(run->folder, run->folder_len);
  script->source = keep(run->source, run->source_len);
  script->name_len = run->name_len;
  script->folder_len = run->folder_len;
  script->source_len = run->source_len;
  if (script->name == NULL || script->folder == NULL || script->source == NULL) {
    forget(script);
    ssphp_throw("memory", "not enough memory");
  }
}

/* ---- calling ---- */

/* Finds the export in what the script returned, or declared. [fiber; may suspend; may raise] */
static bool find_export(const ssphp_run *run, zval *returned, zval *function) {
  ZVAL_UNDEF(function);
  if (Z_TYPE_P(returned) == IS_ARRAY) {
    zval *found = zend_symtable_str_find(Z_ARRVAL_P(returned), run->name, run->name_len);
    if (found != NULL && zend_is_callable(found, 0, NULL)) {
      ZVAL_COPY_DEREF(function, found);
      return true;
    }
  } else if (Z_TYPE_P(returned) == IS_OBJECT) {
    static const char whole[] = "default";
    if (run->name_len == sizeof(whole) - 1 && memcmp(run->name, whole, run->name_len) == 0 && zend_is_callable(returned, 0, NULL)) {
      ZVAL_COPY(function, returned);
      return true;
    }
    if (Z_OBJCE_P(returned) != zend_ce_closure) {
      zval method;
      ZVAL_STRINGL(&method, run->name, run->name_len);
      array_init_size(function, 2);
      Z_ADDREF_P(returned);
      zend_hash_next_index_insert_new(Z_ARRVAL_P(function), returned);
      zend_hash_next_index_insert_new(Z_ARRVAL_P(function), &method);
      if (zend_is_callable(function, 0, NULL)) return true;
      zval_ptr_dtor(function);
      ZVAL_UNDEF(function);
    }
  }
  zend_string *key = zend_string_alloc(run->name_len, 0);
  zend_str_tolower_copy(ZSTR_VAL(key), run->name, run->name_len);
  zend_function *declared = zend_hash_find_ptr(EG(function_table), key);
  zend_string_release(key);
  if (declared == NULL || declared->type != ZEND_USER_FUNCTION) return false;
  ZVAL_STRINGL(function, run->name, run->name_len);
  return true;
}

/* [fiber; may suspend; may raise] */
void ssphp_script_call(ssphp_run *run, zval *result) {
  const ssphp_script *script = script_of(run->home, run->script);
  if (script == NULL) {
    ssphp_throw("not_found", "there is no script number %u", run->script);
    return;
  }
  zval returned, function;
  ZVAL_UNDEF(&returned);
  char *path = path_of(script->folder, script->folder_len, script->name, script->name_len);
  if (script->folder_len > 0 && access(path, R_OK) == 0) {
    run_file(path, &returned);
  } else {
    zend_string *text = zend_string_init(script->source, script->source_len, 0);
    run_text(text, path, ZEND_COMPILE_POSITION_AT_SHEBANG, &returned);
    zend_string_release(text);
  }
  efree(path);
  if (EG(exception) == NULL) {
    if (find_export(run, &returned, &function)) {
      ssphp_call(&function, run->args, run->nargs, result);
      zval_ptr_dtor(&function);
    } else if (EG(exception) == NULL) {
      ssphp_throw("not_found", "script '%s' has no export '%.*s'", script->name, (int)run->name_len, run->name);
    }
  }
  zval_ptr_dtor(&returned);
}

/* ---- texts and programs ---- */

/* The arguments as an array. [fiber; no; may raise] */
static void arguments(const ssphp_run *run, zval *array) {
  const ss_value *from = run->args;
  array_init_size(array, run->nargs);
  for (uint32_t i = 0; i < run->nargs; i++) {
    zval item;
    from = ssphp_decode(from, &item);
    zend_hash_next_index_insert_new(Z_ARRVAL_P(array), &item);
  }
}

/* [any; no; no] */
static bool has_open_tag(const ssphp_run *run) {
  return run->source_len >= 2 && memcmp(run->source, "<?", 2) == 0;
}

/* [fiber; may suspend; may raise] */
void ssphp_script_eval(ssphp_run *run, zval *result) {
  zval array;
  arguments(run, &array);
  zend_hash_str_update(&EG(symbol_table), ZEND_STRL("args"), &array);
  if (EG(exception) != NULL) return;
  char *path = path_of(run->folder, run->folder_len, run->name, run->name_len);
  zend_op_array *code = NULL;
  if (!has_open_tag(run)) {
    /* An expression? In brackets, or the first of several statements would count as one. */
    smart_str text = {0};
    smart_str_appends(&text, "return (");
    smart_str_appendl(&text, run->source, run->source_len);
    smart_str_appends(&text, "\n);");
    smart_str_0(&text);
    code = zend_compile_string(text.s, path, ZEND_COMPILE_POSITION_AFTER_OPEN_TAG);
    smart_str_free(&text);
    if (EG(exception) != NULL) zend_clear_exception();
  }
  if (code == NULL) {
    zend_string *text = zend_string_init(run->source, run->source_len, 0);
    code = zend_compile_string(text, path, has_open_tag(run) ? ZEND_COMPILE_POSITION_AT_OPEN_TAG : ZEND_COMPILE_POSITION_AFTER_OPEN_TAG);
    zend_string_release(text);
  }
  efree(path);
  execute(code, result);
}

/* $argv and $argc, as the command line gives them. [fiber; no; may raise] */
static void command_line(const ssphp_run *run, const char *path) {
  zval argv, argc, first;
  arguments(run, &argv);
  ZVAL_STRING(&first, path);
  HashTable *with = zend_new_array(run->nargs + 1);
  zend_hash_next_index_insert_new(with, &first);
  zval *arg;
  ZEND_HASH_FOREACH_VAL(Z_ARRVAL(argv), arg) {
    Z_TRY_ADDREF_P(arg);
    zend_hash_next_index_insert_new(with, arg);
  } ZEND_HASH_FOREACH_END();
  zval_ptr_dtor(&argv);
  ZVAL_ARR(&argv, with);
  ZVAL_LONG(&argc, run->nargs + 1);
  zend_hash_str_update(&EG(symbol_table), ZEND_STRL("argv"), &argv);
  zend_hash_str_update(&EG(symbol_table), ZEND_STRL("argc"), &argc);
}

/* Makes the script's folder the working directory, as php_execute_script() does it; returns the one before. But it does not ask
   whether they are there, twice a request: the script is read from the one, and the other was good before. [fiber; no; may raise] */
static cwd_state enter_folder(const ssphp_run *run) {
  cwd_state before = CWDG(cwd);
  SG(options) |= SAPI_OPTION_NO_CHDIR;
  CWDG(cwd).cwd = estrndup(before.cwd, before.cwd_length);
  char *folder = estrndup(run->folder, run->folder_len);
  virtual_file_ex(&CWDG(cwd), folder, NULL, CWD_REALPATH);
  efree(folder);
  return before;
}

/* [fiber; may suspend; may raise] */
void ssphp_script_main(ssphp_run *run, zval *result) {
  char *path = path_of(run->folder, run->folder_len, run->name, run->name_len);
  zend_file_handle file;
  command_line(run, path);
  zend_stream_init_filename(&file, path);
  file.primary_script = 1;
  if (ssphp_page_here() == NULL) ssphp_command_streams();
  cwd_state before = enter_folder(run);
  zend_execute_data *base = EG(current_execute_data);
  EG(current_execute_data) = NULL; /* as in execute(); and what nobody catches is PHP's to report */
  php_execute_script(&file);
  EG(current_execute_data) = base;
  virtual_cwd_deactivate();
  CWDG(cwd) = before;
  zend_destroy_file_handle(&file);
  efree(path);
  ZVAL_LONG(result, EG(exit_status));
}
